package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

// TestDemo runs the demo as a newcomer does: every packet is copied but those of
// replication, and the IDS raises its alert.
func TestDemo(t *testing.T) {
	t.Parallel()
	var out, errors bytes.Buffer
	if code := run([]string{"demo"}, strings.NewReader(""), &out, &errors); code != exitOK {
		t.Fatalf("exit %d\n%s%s", code, &out, &errors)
	}
	for _, want := range []string{
		`packets crossed the NIC of web, the audit guest received \d+ of them`,
		`packets crossed the NIC of web, the collector received \d+ of them`,
		`Suricata at the collector: "a guest fetches a page" TCP 10.9.0.1 > 10.9.0.2 in a tunnel 192.0.2.1 > 192.0.2.10`,
		`[1-9]\d packets crossed the NIC of files, the collector received [1-9]\d of them`,
		`[1-9]\d+ packets of replication crossed the NIC of files, the audit guest received 0 of them`,
		`[1-9]\d+ packets of replication crossed the NIC of files, the collector received 0 of them`,
		`left out: [1-9]\d+ packets`,
		`session audit: active`,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("it does not say %q:\n%s", want, &out)
		}
	}
}
