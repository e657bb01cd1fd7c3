package ovstest

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// ErrNoSuricata indicates that Suricata is missing on this machine.
var ErrNoSuricata = errors.New("suricata is not installed: install suricata (make deps)")

//go:embed suricata.yaml
var suricataConfig []byte

// Suricata is a real IDS that watches a guest's eth0 and unpacks the tunnels that end there by itself: ERSPAN Type II
// (not III: 7.0.10 finds nothing in it), GRE, VXLAN and Geneve. It is for alerts; frames are counted by a Capture.
type Suricata struct {
	Dir string // in the lab's: suricata.yaml, suricata.rules, suricata.log, eve.json

	guest   *Guest
	process *process

	mu     sync.Mutex
	closed bool
	detach func() bool
	alerts []Alert // read so far
	offset int64   // of the first byte of eve.json that was not read
}

// SuricataInstalled says whether StartSuricata finds its program.
func SuricataInstalled() bool {
	_, err := exec.LookPath("suricata")
	return err == nil
}

// StartSuricata starts Suricata in the guest, with rules as its rule files have them, one a line. It returns when eth0
// is watched, after a fifth of a second: the next frame that arrives is seen. It is ErrNoSuricata without the program,
// and an error that quotes Suricata if it does not take a rule. Suricata runs until Close, the end of ctx or of the lab,
// and dies with this process.
func (g *Guest) StartSuricata(ctx context.Context, rules string) (*Suricata, error) {
	s := &Suricata{guest: g}
	if err := s.start(ctx, rules); err != nil {
		return nil, fmt.Errorf("suricata at %s: %w", g.cfg.Name, err)
	}
	return s, nil
}

func (s *Suricata) start(ctx context.Context, rules string) error {
	if !SuricataInstalled() {
		return ErrNoSuricata
	}
	var err error
	if s.Dir, err = os.MkdirTemp(s.guest.lab.Dir, "suricata-"+clean(s.guest.cfg.Name)+"-"); err != nil {
		return fmt.Errorf("making its directory: %w", err)
	}
	for name, content := range map[string][]byte{
		"suricata.yaml":  suricataConfig,
		"suricata.rules": []byte(rules + "\n"),
	} {
		if err := os.WriteFile(s.path(name), content, 0o600); err != nil {
			return fmt.Errorf("configuring it: %w", err)
		}
	}
	if err := s.launch(); err != nil {
		return err
	}
	if err := s.guest.lab.keep(s); err != nil {
		return err
	}
	// It says so when its capture thread has opened eth0 and runs.
	err = until(ctx, "suricata to listen", func() (bool, error) {
		log, err := os.ReadFile(s.path("suricata.log"))
		if err != nil || bytes.Contains(bytes.ToLower(log), []byte("engine started")) {
			return err == nil, err
		}
		return false, s.running()
	})
	if err != nil {
		return errors.Join(err, s.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.detach = context.AfterFunc(ctx, func() { _ = s.Close() })
	return nil
}

func (s *Suricata) launch() error {
	log, err := os.Create(s.path("suricata.log"))
	if err != nil {
		return fmt.Errorf("making its log: %w", err)
	}
	defer log.Close() // the child has its own
	// One thread does everything from eth0 to the alert. A rule with a mistake is not left out in silence.
	cmd := exec.Command("suricata", "-c", s.path("suricata.yaml"), "-S", s.path("suricata.rules"), "-l", s.Dir,
		"--af-packet="+device, "--runmode", "workers", "--init-errors-fatal")
	cmd.Dir = s.Dir
	cmd.Stdout, cmd.Stderr = log, log
	s.guest.lab.logf("+ %s\n", strings.Join(cmd.Args, " "))
	p, err := launch(cmd, s.guest.inside)
	if err != nil {
		return fmt.Errorf("starting it: %w", err)
	}
	s.process = p
	return nil
}

func (s *Suricata) path(file string) string { return filepath.Join(s.Dir, file) }

// running is ErrClosed, or an error with the end of its log, if Suricata is not running.
func (s *Suricata) running() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	return s.guest.lab.running(filepath.Join(filepath.Base(s.Dir), "suricata"), s.process)
}

// Close ends Suricata by SIGKILL and returns when it is gone. What it has written stays in Dir until the lab is closed.
// Closing again does nothing.
func (s *Suricata) Close() error {
	s.mu.Lock()
	s.closed = true
	if s.detach != nil {
		s.detach()
	}
	s.mu.Unlock()
	s.process.kill()
	s.guest.lab.forget(s)
	return nil
}
