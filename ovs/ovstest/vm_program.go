package ovstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A Program runs in a virtual machine of its own, as root: on another kernel than this machine's, with Open vSwitch in it.
// The machine has nothing but this machine's programs of Open vSwitch, or those of RootVariable's system, and a shell; no network. It needs what .ci/vm
// makes (VMVariable).
type Program struct {
	Name     string   // for people; processes and the directory carry it
	File     string   // static, put to /program
	Args     []string // after its name
	Env      []string // beside PATH, HOME and TMPDIR
	Programs []string // others of this machine that it needs, with their shared libraries
	Memory   int      // MiB; the image takes of it
	CPUs     int
}

// Run boots the machine, runs the program there, writes all that it says to out, and returns when it has ended: with an
// error if that was not well, or if the machine died of something. Nothing of the machine is left.
func (p Program) Run(ctx context.Context, out io.Writer) (err error) {
	kernel, err := vmlinuz()
	if err != nil {
		return err
	}
	dir, err := makeDirectory(clean(p.Name))
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "initrd")
	if err := p.image(file); err != nil {
		return fmt.Errorf("vm %s: %w", p.Name, err)
	}
	m := &machine{name: p.Name, base: filepath.Join(dir, "vm")}
	quiet := func(string, ...any) {}
	err = m.launch(nil, quiet, nil, "-name", prefix+":"+p.Name, "-m", strconv.Itoa(p.Memory), "-smp", strconv.Itoa(p.CPUs),
		"-kernel", kernel, "-initrd", file, "-append", "console=ttyS0 quiet panic=-1")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	stop := context.AfterFunc(ctx, m.kill)
	defer stop()
	_, line := m.current()
	said := &vmCapture{news: make(chan struct{}, 1)}
	copied := make(chan error, 1)
	go func() { copied <- said.copy(out) }()
	code, err := line.open(ctx, vmRequest{Do: "run", Args: append([]string{"/program"}, p.Args...), Env: p.Env}, said)
	said.end()
	err = errors.Join(err, <-copied)
	if err == nil && code != 0 {
		return fmt.Errorf("vm %s: the program ends with %d", p.Name, code)
	}
	if err != nil {
		return m.explain(err)
	}
	return nil
}

// image writes the machine's image to a file.
func (p Program) image(file string) error {
	i, err := newImage("host")
	if err != nil {
		return err
	}
	for _, name := range append([]string{
		"/bin/sh", "ovsdb-server", "ovsdb-tool", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl", "ovs-appctl",
	}, p.Programs...) {
		if err := i.program(name); err != nil {
			return err
		}
	}
	schema := Config{}.filled().Schema
	if err := i.file(strings.TrimPrefix(schema, "/"), os.Getenv(RootVariable)+schema); err != nil {
		return err
	}
	if err := i.file("program", p.File); err != nil {
		return err
	}
	if err := os.WriteFile(file, i.whole(), 0o600); err != nil {
		return fmt.Errorf("writing the image: %w", err)
	}
	return nil
}
