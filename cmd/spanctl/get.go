package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"spanctl/ovs"
	"spanctl/policy"
	"spanctl/policy/plan"
)

func getCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "get [SESSION]...",
		Short: "Print the stored sessions as a policy",
		Long: `Print the sessions that OVSDB stores, as a policy that apply takes. What is
really being copied is shown by status.`,
		Example: "  spanctl get > policy.yaml",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.connect(cmd, func(ctx context.Context, conn *ovs.Conn) error {
				snap, err := conn.Observe(ctx)
				if err != nil {
					return err
				}
				intent := plan.StoredIntent(snap)
				if err := restrict(intent, names); err != nil {
					return err
				}
				doc := &policy.Document{Version: policy.Version, Sessions: map[string]*policy.Session{}}
				var unreadable []error
				for _, name := range intent.Names() {
					if w := intent[name]; w.Err != nil {
						unreadable = append(unreadable, fmt.Errorf("session %s: %w", name, w.Err))
					} else {
						doc.Sessions[name] = w.Session
					}
				}
				if err := a.view().sessions(doc); err != nil {
					return err
				}
				return errors.Join(unreadable...)
			})
		},
	}
}

// restrict leaves the named sessions in the intent, all if none is named.
func restrict(intent plan.Intent, names []string) error {
	if len(names) == 0 {
		return nil
	}
	var unknown []error
	named := map[string]bool{}
	for _, name := range names {
		named[name] = true
		if _, ok := intent[name]; !ok {
			unknown = append(unknown, fmt.Errorf("%w: %q; spanctl get lists the sessions", errUnknownSession, name))
		}
	}
	for name := range intent {
		if !named[name] {
			delete(intent, name)
		}
	}
	return errors.Join(unknown...)
}
