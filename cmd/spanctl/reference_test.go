package main

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"spanctl/policy/plan"
)

// TestReferenceIsComplete holds the command reference and the code together:
// every command with its flags, every setting, the exit codes, every state and
// every reason is documented.
func TestReferenceIsComplete(t *testing.T) {
	data, err := os.ReadFile("../../docs/reference/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	root := rootCommand(&app{})
	root.InitDefaultCompletionCmd()
	commands := append(root.Commands(), root)
	for _, cmd := range commands {
		section := text
		if cmd != root {
			_, after, found := strings.Cut(text, "\n### "+cmd.Name()+"\n")
			if !found {
				t.Errorf("command %s has no section", cmd.Name())
				continue
			}
			section, _, _ = strings.Cut(after, "\n#")
		}
		flags := pflag.NewFlagSet("all", pflag.ContinueOnError)
		flags.AddFlagSet(cmd.Flags())
		for _, sub := range cmd.Commands() {
			if cmd == root || sub.Hidden || cmd.Name() == "completion" {
				continue
			}
			flags.AddFlagSet(sub.Flags())
			if !strings.Contains(section, "`spanctl "+cmd.Name()+" "+sub.Name()) {
				t.Errorf("command %s %s is not documented", cmd.Name(), sub.Name())
			}
		}
		flags.VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && !strings.Contains(section, "--"+f.Name) && f.Name != "filename" {
				t.Errorf("%s --%s is not documented", cmd.Name(), f.Name)
			}
		})
	}
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) {
		if env := "SPANCTL_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_")); !strings.Contains(text, "`--"+f.Name+"`") || !strings.Contains(text, env) {
			t.Errorf("setting --%s, %s is not documented", f.Name, env)
		}
	})
	if !strings.Contains(text, exitTable) {
		t.Error("the table of exit codes is another one")
	}
	for _, state := range []plan.State{
		plan.StateActive, plan.StateWaiting, plan.StateDegraded, plan.StateDisabled, plan.StateExpired, plan.StateInvalid, plan.StateRefused,
	} {
		if !strings.Contains(text, "`"+string(state)+"`") {
			t.Errorf("state %s is not documented", state)
		}
	}
	for _, reason := range []plan.Reason{
		plan.ReasonNew, plan.ReasonChanged, plan.ReasonDeleted, plan.ReasonDisabled, plan.ReasonExpired, plan.ReasonWaiting, plan.ReasonPorts,
		plan.ReasonMissing, plan.ReasonDrift, plan.ReasonOrphan, plan.ReasonTags, plan.ReasonTier, plan.ReasonBorrow, plan.ReasonAdopt, plan.ReasonGiveBack, plan.ReasonFollow,
	} {
		if !strings.Contains(text, "`"+string(reason)+"`") {
			t.Errorf("reason %s is not documented", reason)
		}
	}
}

// TestEveryCommandHasHelp holds that help says what a command is for.
func TestEveryCommandHasHelp(t *testing.T) {
	commands := rootCommand(&app{}).Commands()
	for _, cmd := range commands {
		commands = append(commands, cmd.Commands()...)
	}
	for _, cmd := range commands {
		if cmd.Short == "" || cmd.RunE == nil || (cmd.Long == "" && cmd.Name() != "version") {
			t.Errorf("command %s is not described", cmd.Name())
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s is not described", cmd.Name(), f.Name)
			}
		})
	}
}
