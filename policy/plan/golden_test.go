package plan_test

import (
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"spanctl/policy"
	"spanctl/policy/plan"
)

var rewrite = flag.Bool("update", false, "write the golden plans anew")

// noon is the time of every golden plan.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// TestGoldenPlans compiles each testdata/*.txtar: a snapshot, a policy that is
// put into the stored intent (or none), and the plan that must come out.
func TestGoldenPlans(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no golden plans", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			part := func(name string) *txtar.File {
				for i := range archive.Files {
					if archive.Files[i].Name == name {
						return &archive.Files[i]
					}
				}
				archive.Files = append(archive.Files, txtar.File{Name: name})
				return &archive.Files[len(archive.Files)-1]
			}
			snap := readSnapshot(t, string(part("snapshot").Data))
			intent := plan.StoredIntent(snap)
			if text := part("policy.yaml").Data; len(text) > 0 {
				doc, err := policy.Parse("policy.yaml", text)
				if err != nil {
					t.Fatal(err)
				}
				for name, session := range doc.Sessions {
					if err := intent.Put(name, session); err != nil {
						t.Fatal(err)
					}
				}
			}
			got := renderPlan(plan.Make(snap, intent, noon))
			want := part("plan")
			if *rewrite {
				want.Data = []byte(got)
				archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return len(f.Data) == 0 })
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want.Data) {
				t.Errorf("got plan:\n%s\nwant:\n%s", got, want.Data)
			}
		})
	}
}

func renderPlan(p *plan.Plan) string {
	var b strings.Builder
	for i := range p.Changes {
		c := &p.Changes[i]
		if c.Table == plan.TableIntent {
			fmt.Fprintf(&b, "%s session %s (%s)\n", c.Action, c.Name, c.Reason)
			continue
		}
		fmt.Fprintf(&b, "%s %s %s/%s %s %v (%s)\n", c.Action, c.Table, c.Bridge, c.Name, c.Tier, c.Sessions, c.Reason)
		if c.Action == plan.Delete {
			continue
		}
		for _, column := range slices.Sorted(maps.Keys(c.Columns)) {
			d := c.Columns[column]
			if c.Action == plan.Create {
				if len(d.New) > 0 {
					fmt.Fprintf(&b, "    %s: %s\n", column, strings.Join(d.New, " "))
				}
			} else {
				fmt.Fprintf(&b, "    %s: [%s] -> [%s]\n", column, strings.Join(d.Old, " "), strings.Join(d.New, " "))
			}
		}
	}
	for _, o := range p.Outcomes {
		fmt.Fprintf(&b, "session %s: %s", o.Name, o.State)
		if o.State == plan.StateActive {
			fmt.Fprintf(&b, " %d ports -> %s", o.SourceCount(), o.Destination)
		} else {
			fmt.Fprintf(&b, ": %s", o.Reason)
		}
		b.WriteString("\n")
		for _, r := range o.Refusals {
			fmt.Fprintf(&b, "    refused (tier %q): %s\n", r.Tier, r)
		}
	}
	for _, w := range p.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	return b.String()
}

// readSnapshot reads the lines of a snapshot:
//
//	ovs VERSION | filter | local | guest UUID NAME | guestserror TEXT | route ADDRESS [DEVICE[,DEVICE] MTU [FROM [VIA]]] | device NAME KIND [REMOTE [PORT]] | stored SESSION JSON
//	bridge NAME [datapath=D] [failmode=M] [flood=VLANS] [bpdu] [stp] [KEY:=VALUE]...
//	port NAME [type=T] [driver=D] [tag=N] [trunks=R] [mode=M] [protected] [nostp] [ofport=N] [request=N] [mtu=N] [link=L] [members=A,B] [egress=DEVICE] [OPTION.=VALUE]... [KEY:=VALUE]...
//	flow [ours] table=N,priority=N,MATCH ACTIONS
//	meter ID RATE BURST
//	mirror NAME [all] [src=A,B] [dst=A,B] [vlans=R] [out=PORT] [outvlan=N] [snaplen=N] [KEY:=VALUE]...
func readSnapshot(t testing.TB, text string) *plan.Snapshot {
	t.Helper()
	s := &plan.Snapshot{Root: "root", OVSVersion: "3.5.0", Revision: "1", Intent: map[string]string{}}
	serial := 0
	uuid := func() string { serial++; return fmt.Sprintf("uuid-%d", serial) }
	var bridge *plan.Bridge
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		switch words[0] {
		case "ovs":
			s.OVSVersion = words[1]
		case "filter":
			s.MirrorFilter = true
		case "stored":
			s.Intent[words[1]] = strings.TrimSpace(strings.SplitN(line, words[1], 2)[1])
		case "local":
			s.Local = true
		case "guest":
			if s.Guests == nil {
				s.Guests = map[string]string{}
			}
			s.Guests[words[1]] = words[2]
		case "guestserror":
			s.GuestsError = strings.Join(words[1:], " ")
		case "route":
			if s.Routes == nil {
				s.Routes = map[netip.Addr]plan.Route{}
			}
			var route plan.Route // "route ADDRESS" alone: there is none
			if len(words) > 2 {
				route = plan.Route{Devices: strings.Split(words[2], ","), MTU: number(t, words[3])}
				for i, word := range words[4:] {
					*[]*netip.Addr{&route.Source, &route.NextHop}[i] = netip.MustParseAddr(word)
				}
			}
			s.Routes[netip.MustParseAddr(words[1])] = route
		case "device":
			if s.Devices == nil {
				s.Devices = map[string]plan.Device{}
			}
			device := plan.Device{Kind: words[2]}
			if len(words) > 3 {
				device.Remote = netip.MustParseAddr(words[3])
			}
			if len(words) > 4 {
				device.Port = number(t, words[4])
			}
			s.Devices[words[1]] = device
		case "bridge":
			s.Bridges = append(s.Bridges, readBridge(t, words[1:], uuid))
			bridge = &s.Bridges[len(s.Bridges)-1]
		case "port":
			bridge.Ports = append(bridge.Ports, readPort(t, words[1:], uuid))
		case "flow":
			bridge.Flows = append(bridge.Flows, readFlow(t, words[1:]))
		case "meter":
			bridge.Meters = append(bridge.Meters, plan.Meter{ID: uint32(number(t, words[1])), Rate: uint32(number(t, words[2])), Burst: uint32(number(t, words[3]))})
		case "mirror":
			bridge.Mirrors = append(bridge.Mirrors, readMirror(t, words[1:], uuid))
		default:
			t.Fatalf("snapshot: %q", line)
		}
	}
	for i := range s.Bridges {
		slices.SortFunc(s.Bridges[i].Ports, func(a, b plan.Port) int { return strings.Compare(a.Name, b.Name) })
	}
	return s
}

func readBridge(t testing.TB, words []string, uuid func() string) plan.Bridge {
	b := plan.Bridge{UUID: uuid(), Name: words[0], Ports: []plan.Port{hostPort(words[0], uuid)}, ExternalIDs: map[string]string{}, OtherConfig: map[string]string{}}
	for _, word := range words[1:] {
		key, v, _ := strings.Cut(word, "=")
		if id, ok := strings.CutSuffix(key, ":"); ok {
			b.ExternalIDs[id] = v
			continue
		}
		switch key {
		case "datapath":
			b.Datapath = v
		case "failmode":
			b.FailMode = v
		case "flood":
			b.FloodVLANs = ranges(t, v)
		case "stp":
			b.STP = true
		case "bpdu":
			b.OtherConfig["forward-bpdu"] = "true"
		default:
			t.Fatalf("snapshot: %q", word)
		}
	}
	return b
}

// readFlow reads a rule: of ours is one that has the cookie which spanctl would give it.
func readFlow(t testing.TB, words []string) plan.Flow {
	var f plan.Flow
	ours := words[0] == "ours"
	if ours {
		words = words[1:]
	}
	head := strings.SplitN(words[0], ",", 3)
	f.Table, f.Priority = number(t, strings.TrimPrefix(head[0], "table=")), number(t, strings.TrimPrefix(head[1], "priority="))
	if len(head) > 2 {
		f.Match = plan.NormalMatch(head[2])
	}
	if f.Actions = words[1]; ours {
		f.Cookie = plan.NewRule(f.Table, f.Priority, f.Match, f.Actions).Cookie
	}
	return f
}

func hostPort(name string, uuid func() string) plan.Port {
	return plan.Port{UUID: uuid(), Name: name, Interfaces: []plan.Interface{{UUID: uuid(), Name: name, Type: "internal", OFPort: 65534}}}
}

func readPort(t testing.TB, words []string, uuid func() string) plan.Port {
	p := plan.Port{UUID: uuid(), Name: words[0], ExternalIDs: map[string]string{}}
	iface := plan.Interface{UUID: uuid(), Name: words[0], OFPort: 1, Options: map[string]string{}, ExternalIDs: map[string]string{}}
	for _, word := range words[1:] {
		key, v, _ := strings.Cut(word, "=")
		if id, ok := strings.CutSuffix(key, ":"); ok {
			iface.ExternalIDs[id] = v
			if strings.HasPrefix(id, "spanctl-") {
				p.ExternalIDs[id] = v
			}
			continue
		}
		if option, ok := strings.CutSuffix(key, "."); ok {
			iface.Options[option] = v
			continue
		}
		switch key {
		case "type":
			iface.Type = v
		case "egress":
			iface.Egress = v
		case "protected":
			p.Protected = true
		case "nostp":
			p.OtherConfig = map[string]string{"stp-enable": "false"}
		case "driver":
			iface.Driver = v
		case "mode":
			p.VLANMode = v
		case "link":
			iface.LinkState = v
		case "mac":
			iface.MACInUse = v
		case "mtu":
			iface.MTU = number(t, v)
		case "tag":
			n := number(t, v)
			p.Tag = &n
		case "ofport":
			iface.OFPort = number(t, v)
		case "request":
			iface.OFPortRequest = number(t, v)
		case "trunks":
			p.Trunks = ranges(t, v)
		case "members":
			for member := range strings.SplitSeq(v, ",") {
				p.Interfaces = append(p.Interfaces, plan.Interface{UUID: uuid(), Name: member, OFPort: 1})
			}
		default:
			t.Fatalf("snapshot: %q", word)
		}
	}
	if p.Interfaces == nil {
		p.Interfaces = []plan.Interface{iface}
	}
	return p
}

func readMirror(t testing.TB, words []string, uuid func() string) plan.Mirror {
	m := plan.Mirror{UUID: uuid(), Name: words[0], ExternalIDs: map[string]string{}}
	for _, word := range words[1:] {
		key, v, _ := strings.Cut(word, "=")
		if id, ok := strings.CutSuffix(key, ":"); ok {
			m.ExternalIDs[id] = v
			continue
		}
		switch key {
		case "all":
			m.SelectAll = true
		case "src":
			m.SelectSrc = strings.Split(v, ",")
		case "dst":
			m.SelectDst = strings.Split(v, ",")
		case "vlans":
			m.SelectVLANs = ranges(t, v)
		case "out":
			m.OutputPort = v
		case "outvlan":
			n := number(t, v)
			m.OutputVLAN = &n
		case "snaplen":
			m.Snaplen = number(t, v)
		default:
			t.Fatalf("snapshot: %q", word)
		}
	}
	return m
}

func number(t testing.TB, text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func ranges(t testing.TB, text string) policy.Ranges {
	var set policy.Ranges
	for item := range strings.SplitSeq(text, ",") {
		first, last, ok := strings.Cut(item, "-")
		if !ok {
			last = first
		}
		set = set.Union(policy.Ranges{{First: uint16(number(t, first)), Last: uint16(number(t, last))}})
	}
	return set
}
