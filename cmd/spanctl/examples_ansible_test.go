package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// runAnsible writes sessions by the playbook. What it writes is what spanctl itself would, so neither has anything to
// change after the other.
func runAnsible(t *testing.T, dir string) {
	s := newExampleHost(t)
	s.play(dir, 1, "--check")
	if out := s.want(exitOK, "get"); strings.Contains(out, "guests-to-audit") {
		s.Errorf("--check has written:\n%s", out)
	}
	s.play(dir, 1)
	s.play(dir, 0)
	s.applyPending()
	s.play(dir, 0)
	s.want(exitOK, "plan", "--detailed-exitcode", "-f", filepath.Join(dir, "policy.yaml"))
	s.wantCopies(1, "web", "db", "web", "db")
	s.wantCopies(0, "app", "files", "web", "db")
	s.wantCopiesAt("ids", 1, "app", "files", "app", "files")

	// Another policy, with what is hard to quote; of the sessions to remove one is there, one is broken, and one is not there.
	odd := `{"version": 1, "sessions": {"guests-to-audit": {"description": "\"quoted\", C:\\new, {{ 7 * 6 }}, ünïcode 𝄞, <&>, a=b:c,d",
		"sources": [{"role": "guest", "external_ids": {"a": "[x]", "b": "*"}, "bridge": "xenbr0"}, {"role": "guest"}], "destinations": [{"interface": "vif9.0"}], "snaplen": 100}}}`
	oddFile := filepath.Join(s.TempDir(), "odd.json")
	s.writeFile(oddFile, odd)
	fromOdd := []string{"-e", `{"spanctl_policy": "{{ lookup('file', '` + oddFile + `') | from_yaml }}", "spanctl_absent": ["files-to-ids", "broken", "never-there"]}`}
	s.vsctl("set", "Open_vSwitch", ".", `external_ids:spanctl/session/broken="{"`)
	s.play(dir, 2, append(fromOdd, "--check")...)
	s.play(dir, 2, fromOdd...)
	s.play(dir, 0, fromOdd...)
	if out := s.want(exitOK, "get", "-o", "json"); !strings.Contains(out, `C:\\new`) || strings.Contains(out, "files-to-ids") || strings.Contains(out, "broken") {
		s.Errorf("sessions are not those of the changed policy:\n%s", out)
	}
	s.want(exitOK, "apply")
	s.wantNoChanges()
	s.play(dir, 0, fromOdd...)
	if code, stdout, _ := s.spanctl("plan", "--detailed-exitcode", "-f", oddFile); code != exitOK {
		s.Errorf("the text of the session is not spanctl's own:\n%s", stdout)
	}
	s.play(dir, 1, "-e", `{"spanctl_policy": {"version": 1, "sessions": {}}, "spanctl_absent": ["guests-to-audit"]}`)
	s.applyPending()
	if rows := s.vsctl("--columns=name", "find", "Port", "external_ids:spanctl-managed=true"); rows != "" {
		s.Errorf("after the end there are\n%s", rows)
	}

	code, stdout, stderr := s.run(command{environ: s.ansible()}, "ansible-playbook", "-i", "localhost,", "-c", "local", filepath.Join(dir, "playbook.yaml"), "-e", "spanctl_db=unix:/nowhere")
	if code == 0 || !strings.Contains(stdout, "database connection failed") {
		s.Errorf("without a database it exits %d:\n%s%s", code, stdout, stderr)
	}
}

// ansible is an environment in which Ansible writes nothing outside the test.
func (s *site) ansible() []string {
	s.Helper()
	dir := s.TempDir()
	s.writeFile(filepath.Join(dir, "ansible.cfg"), "")
	return []string{
		"ANSIBLE_HOME=" + dir, "ANSIBLE_LOCAL_TEMP=" + dir, "ANSIBLE_REMOTE_TEMP=" + dir, "ANSIBLE_CONFIG=" + filepath.Join(dir, "ansible.cfg"), "ANSIBLE_NOCOLOR=1",
		"LC_ALL=C.UTF-8",
	}
}

var recap = regexp.MustCompile(`changed=(\d+) +unreachable=0 +failed=0`)

// play runs the playbook on this host, and wants so many of its tasks to change something.
func (s *site) play(dir string, changed int, args ...string) {
	s.Helper()
	args = append([]string{"-i", "localhost,", "-c", "local", filepath.Join(dir, "playbook.yaml"), "-e", "spanctl_db=" + s.lab.DB}, args...)
	code, stdout, stderr := s.run(command{environ: s.ansible()}, "ansible-playbook", args...)
	if match := recap.FindStringSubmatch(stdout); code != 0 || match == nil || match[1] != string(rune('0'+changed)) {
		s.Fatalf("ansible-playbook %q exits %d, want %d changed\n%s%s", args, code, changed, stdout, stderr)
	}
}
