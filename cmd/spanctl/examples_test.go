package main

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"spanctl/ovs/ovstest"
)

// TestExamplesAreApplied applies each example on a bridge with the ports that
// it names, counts the copies, and ends it.
func TestExamplesAreApplied(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	lab, err := ovstest.Start(ctx, ovstest.Config{Name: t.Name(), Bridges: []string{"xenbr0"}})
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	guests := map[string]*ovstest.Guest{}
	for _, port := range []string{"vif1.0", "vif2.0", "vif9.0", "uplink0"} {
		cfg := ovstest.GuestConfig{Name: port, Port: port}
		if port == "uplink0" {
			cfg.ExternalIDs = map[string]string{"spanctl-role": "uplink"}
		} else {
			cfg.ExternalIDs = map[string]string{"vm-id": port}
		}
		if guests[port], err = lab.AddGuest(ctx, cfg); err != nil {
			t.Fatal(err)
		}
	}
	receivers := map[string]string{"guests-to-audit": "vif9.0", "headers-only": "vif9.0", "rspan": "uplink0"}
	dirs, err := filepath.Glob("../../examples/*")
	if err != nil || len(dirs) != len(receivers) {
		t.Fatalf("examples are %v; receivers are known for %d", dirs, len(receivers))
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			spanctl := func(args ...string) {
				t.Helper()
				var out, errors bytes.Buffer
				if code := run(append(args, "--db", lab.DB), nil, &out, &errors); code != exitOK {
					t.Fatalf("spanctl %s: exit %d\n%s%s", strings.Join(args, " "), code, &out, &errors)
				}
			}
			spanctl("apply", "-f", dir)
			spanctl("status")
			copies, err := guests[receivers[filepath.Base(dir)]].Capture(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer copies.Close()
			sent, err := ovstest.Exchange(ctx, guests["vif1.0"], guests["vif2.0"], 5)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range sent {
				if err := copies.WaitPayload(ctx, s.Payload, 1); err != nil {
					t.Fatal(err)
				}
			}
			spanctl("delete", "-f", dir)
		})
	}
}
