// Command spanctl mirrors the traffic of a virtualization host, as policies
// say, by Mirror rows of Open vSwitch. This package is its command line: the
// only place of flags, configuration, exit codes and rendering. What is wanted
// is package policy, what should be done package plan, how package ovs.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program; it returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := rootCommand(a)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	code := exitCode(err)
	if ctx.Err() != nil && code != exitOK {
		code = exitInterrupted
		err = fmt.Errorf("interrupted: %w", err)
	}
	if err != nil {
		a.printError(err, code)
	}
	return code
}
