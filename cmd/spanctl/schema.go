package main

import (
	"github.com/spf13/cobra"

	"spanctl/policy"
)

func schemaCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of policies",
		Long: `Print the JSON Schema of policies, for editors that complete and check: put
"# yaml-language-server: $schema=FILE" at the head of a policy.`,
		Example: "  spanctl schema > policy.schema.json",
		RunE: func(*cobra.Command, []string) error {
			text, err := policy.Schema()
			if err != nil {
				return err
			}
			_, err = a.stdout.Write(text)
			return err
		},
	}
}
