package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"spanctl/policy"
	"spanctl/policy/plan"
)

// version is set by the linker for releases.
var version = "devel"

// versionInfo is what the command prints.
type versionInfo struct {
	FormatVersion int    `json:"format_version"`
	Version       string `json:"version"`
	Revision      string `json:"revision,omitempty"`
	Go            string `json:"go"`
	Policy        int    `json:"policy_version"`
}

func versionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		RunE: func(*cobra.Command, []string) error {
			info := versionInfo{FormatVersion: plan.FormatVersion, Version: version, Go: runtime.Version(), Policy: policy.Version}
			if build, ok := debug.ReadBuildInfo(); ok {
				for _, s := range build.Settings {
					if s.Key == "vcs.revision" {
						info.Revision = s.Value
					}
				}
			}
			return a.view().version(info)
		},
	}
}
