package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"spanctl/ovs"
	"spanctl/ovs/migrate"
	"spanctl/ovs/migrate/persist"
)

// keyStateDir is the setting of the folder with what was captured of bridges.
const keyStateDir = "state-dir"

// keyRoot is the setting of the directory below which the host's configuration files are.
const keyRoot = "root"

// bridgeKeys are settings of the bridge commands.
var bridgeKeys = []string{keyStateDir, keyRoot}

func bridgeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bridge COMMAND",
		Short: "Replace a Linux bridge by Open vSwitch, without losing the host",
		Long: `Replace a Linux bridge of this host by a bridge of Open vSwitch: its ports with
their VLANs, its MAC and MTU, the host's addresses, routes, rules, neighbours and
sysctls on it. What cannot be carried is refused first. Everything is put back
unless the operator confirms in time, also when spanctl is killed or the
connection to the host is lost: a watchdog, a process of its own, sees to it.

The files of ifupdown and systemd-networkd are changed too, that it is the same
after the next boot. What other programs keep (netplan, NetworkManager) is refused
with what to do by hand.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().String(keyStateDir, migrate.DefaultFolder, "folder for what is captured of bridges, and backups of files")
	cmd.PersistentFlags().String(keyRoot, "/", "directory below which the host's configuration files are")
	cmd.AddCommand(bridgeListCommand(a), bridgePlanCommand(a), bridgeMigrateCommand(a), bridgeConfirmCommand(a), bridgeRevertCommand(a), bridgeWatchdogCommand(a))
	for _, sub := range cmd.Commands() {
		sub.Args = usageArgs(sub.Args)
	}
	return cmd
}

// A bridgeInfo is a Linux bridge, or one that was.
type bridgeInfo struct {
	state    *migrate.State // nil of one that is none now
	layout   *migrate.Layout
	findings []migrate.Finding
	journal  *migrate.Journal // of its migration, nil without
	files    *persist.Changes // of the host's configuration, that it lasts over a boot; nil: they are left
}

// inspect looks at a Linux bridge and says what a migration would do.
func (a *app) inspect(ctx context.Context, conn *ovs.Conn, bridge string, how layoutFlags) (*bridgeInfo, error) {
	state, err := migrate.Capture(bridge)
	if err != nil {
		return nil, err
	}
	b := &bridgeInfo{state: state, layout: migrate.NewLayout(state, how.name, how.datapath)}
	sw, err := migrate.LookAtSwitch(ctx, conn, how.datapath)
	if err != nil {
		return nil, err
	}
	b.findings = migrate.Check(state, b.layout, sw)
	if len(migrate.Refusals(b.findings)) > 0 || how.runtimeOnly {
		return b, nil
	}
	return b, a.inspectFiles(b)
}

// refused is ErrRefused with all that stands against a migration, nil if nothing does.
func (b *bridgeInfo) refused() error {
	reasons := migrate.Refusals(b.findings)
	if len(reasons) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s: %s", migrate.ErrRefused, b.state.Bridge.Name, strings.Join(reasons, "\n"+b.state.Bridge.Name+": "))
}

// journalOf is the folder of a bridge's migration, and what is in it.
func (a *app) journalOf(bridge string) (*migrate.Folder, *migrate.Journal, error) {
	folder, err := migrate.Open(a.settings.GetString(keyStateDir), bridge)
	if err != nil {
		return nil, nil, err
	}
	journal, err := folder.Read()
	return folder, journal, err
}

// stale says of a migration before the last boot that it is over.
func stale(j *migrate.Journal) error {
	return fmt.Errorf("%w: the host was started anew since the migration of %s began (%s): it has what its configuration files say, "+
		"and a bridge %s that Open vSwitch's database still has is to be removed (ovs-vsctl del-br %s)",
		migrate.ErrNoMigration, j.State.Bridge.Name, j.Started.Format("2006-01-02 15:04:05Z07:00"), j.Layout.New, j.Layout.New)
}

func bridgeListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List Linux bridges, and whether they can be migrated",
		Long: `List the Linux bridges of this host with their ports and who has them, addresses
and routes, VLAN filtering and STP, whether each can be migrated, and what stands
against it; and the bridges that were migrated. Open vSwitch is not asked: plan
does.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			list, err := a.linuxBridges()
			if err != nil {
				return err
			}
			return a.view().bridges(list)
		},
	}
}

// linuxBridges are those of the host, and those that were.
func (a *app) linuxBridges() ([]bridgeInfo, error) {
	names, err := migrate.LinuxBridges()
	if err != nil {
		return nil, err
	}
	folders, err := migrate.Folders(a.settings.GetString(keyStateDir))
	if err != nil {
		return nil, err
	}
	journals := map[string]*migrate.Journal{} // by the name that the Linux bridge has now
	var list []bridgeInfo
	for _, f := range folders {
		journal, err := f.Read()
		switch {
		case errors.Is(err, migrate.ErrNoMigration):
		case err != nil:
			return nil, err
		case journal.Stale() || journal.Phase == migrate.Reverted:
		case journal.Phase == migrate.Confirmed:
			list = append(list, bridgeInfo{layout: journal.Layout, journal: journal})
		default:
			journals[journal.Layout.Parked] = journal
		}
	}
	for _, name := range names {
		state, err := migrate.Capture(name)
		if errors.Is(err, migrate.ErrNoBridge) {
			continue // it has gone meanwhile
		} else if err != nil {
			return nil, err
		}
		b := bridgeInfo{state: state, layout: migrate.NewLayout(state, "", ""), journal: journals[name]}
		b.findings = migrate.Check(state, b.layout, nil)
		list = append(list, b)
	}
	return list, nil
}

func bridgePlanCommand(a *app) *cobra.Command {
	var how layoutFlags
	cmd := &cobra.Command{
		Use:   "plan BRIDGE",
		Short: "Show how a Linux bridge would be migrated",
		Long: "Show the steps of a migration, and what stands against it or will be otherwise after\nit, and how the host's configuration files" +
			" will be changed. Nothing is changed.\nThe exit code is 4 if it is refused.",
		Example: "  spanctl bridge plan br0\n  spanctl bridge plan br0 --name xenbr0",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.connect(cmd, func(ctx context.Context, conn *ovs.Conn) error {
				b, err := a.inspect(ctx, conn, args[0], how)
				if err != nil {
					return err
				}
				if err := a.view().bridgePlan(b); err != nil {
					return err
				}
				return b.refused()
			})
		},
	}
	how.add(cmd)
	return cmd
}

// layoutFlags are those that say how the new bridge shall be.
type layoutFlags struct {
	name, datapath string
	runtimeOnly    bool
}

func (f *layoutFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.runtimeOnly, "runtime-only", false, "leave the host's configuration files as they are: they make the Linux bridge at the next boot")
	cmd.Flags().StringVar(&f.name, "name", "", "name of the new bridge, and of the host's device (default that of the Linux bridge)")
	cmd.Flags().StringVar(&f.datapath, "datapath", "", "datapath_type of the new bridge (default the kernel's)")
}
