package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func validateCommand(a *app) *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "validate {-f FILE | FILE}...",
		Short: "Check policy files, without a switch",
		Long: `Check policy files: syntax, fields, values. All errors of all files are shown
in one go, as FILE:LINE:COLUMN: FIELD: what is wrong; what would be right.`,
		Example: "  spanctl validate policy.yaml\n  spanctl validate -f policies/",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			files = append(files, args...)
			if len(files) == 0 {
				return fmt.Errorf("%w: name a policy file with -f", errUsage)
			}
			sessions, err := a.loadPolicies(cmd.Context(), files)
			if err != nil {
				return err
			}
			return a.view().valid(sessions)
		},
	}
	fileFlag(cmd, &files, "policies")
	return cmd
}
