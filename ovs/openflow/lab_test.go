package openflow_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"spanctl/ovs/openflow"
	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// patience ends a test that hangs: no test waits for it.
const patience = time.Minute

// start starts an ovs-vswitchd with dummy devices that ends with the test.
func start(t *testing.T, bridges ...string) (context.Context, *ovstest.Lab, *openflow.Switch) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	lab, err := ovstest.Start(ctx, ovstest.Config{Name: t.Name(), Dummy: true, Bridges: bridges})
	check(t, err)
	t.Cleanup(func() { check(t, lab.Close()) })
	for _, bridge := range bridges {
		_, err := lab.OFCtl(ctx, "del-flows", "unix:"+lab.Dir+"/"+bridge+".mgmt") // the rule of a bridge without secure
		check(t, err)
	}
	return ctx, lab, openflow.At(lab.Dir)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rules are the bridge's rules in the words of the test: counts left out, a match's
// fields sorted and its numbers decimal.
func rules(ctx context.Context, t *testing.T, s *openflow.Switch, bridge string) []plan.Flow {
	t.Helper()
	flows, _, err := s.Read(ctx, bridge)
	check(t, err)
	return normal(flows)
}

func normal(flows []plan.Flow) []plan.Flow {
	out := slices.Clone(flows)
	for i := range out {
		out[i].Match = normalMatch(out[i].Match)
		out[i].Packets, out[i].Bytes = 0, 0
	}
	slices.SortFunc(out, func(a, b plan.Flow) int { return int(a.Cookie) - int(b.Cookie) })
	return out
}

func normalMatch(match string) string {
	fields := strings.Split(match, ",")
	for i, field := range fields {
		key, value, _ := strings.Cut(field, "=")
		parts := strings.Split(value, "/")
		for j, part := range parts {
			if n, err := strconv.ParseUint(part, 0, 64); err == nil {
				parts[j] = strconv.FormatUint(n, 10)
			}
		}
		fields[i] = key + "=" + strings.Join(parts, "/")
	}
	slices.Sort(fields)
	return strings.Join(fields, ",")
}

func same[T comparable](t *testing.T, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}
