package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"spanctl/ovs"
	"spanctl/policy"
	"spanctl/policy/plan"
)

func traceCommand(a *app) *cobra.Command {
	var all bool
	var in string
	cmd := &cobra.Command{
		Use:   "trace {SESSION | --all} --in PORT [FIELD]...",
		Short: "Say whether a packet would be copied, where, and why",
		Long: `Say of a packet that enters the switch at a port whether a session copies it,
where to and why, or why not: by the policy, and by what ovs-vswitchd itself
says that it would do (ofproto/trace). Where the two differ trace says so and
exits with 7. Nothing is changed, and no packet is sent.

FIELD is one of the words of matches: a protocol or ethertype alone (tcp, udp,
icmp6, arp, lldp, ...), or NAME=VALUE with one of protocol, ethertype, src, dst,
src_port, dst_port, vlan (a tag that the packet carries), src_mac, dst_mac, dscp
and fragment (first or later). What is not said is filled in: a packet is IPv4
and TCP unless an address or protocol is of IPv6. Without dst_mac the switch
floods it, as it does with an address that it does not know.

The database of another host does not tell what its switch does: trace then
says what the policy says.`,
		Example: "  spanctl trace audit --in vif1.0 tcp src=10.0.0.1 dst=10.0.0.2 dst_port=80\n  spanctl trace --all --in eth0 arp vlan=100",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			var names []string
			switch {
			case in == "":
				return fmt.Errorf("%w: say by --in at which port the packet enters; see %s --help", errUsage, cmd.CommandPath())
			case all:
			case len(args) == 0:
				return fmt.Errorf("%w: name a session, or write --all; see %s --help", errUsage, cmd.CommandPath())
			default:
				names, args = args[:1], args[1:]
			}
			packet, err := policy.ParsePacket(args)
			if err != nil {
				return fmt.Errorf("%w: %w", errUsage, err)
			}
			return a.connect(cmd, func(ctx context.Context, conn *ovs.Conn) error { return a.trace(ctx, conn, names, in, packet) })
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "ask of every session")
	cmd.Flags().StringVar(&in, "in", "", "the port or interface at which the packet enters")
	return cmd
}

// trace answers for the named sessions, all if none is named.
func (a *app) trace(ctx context.Context, conn *ovs.Conn, names []string, in string, packet *policy.Packet) error {
	snap, err := conn.Observe(ctx)
	if err != nil {
		return err
	}
	if err := restrict(plan.StoredIntent(snap), names); err != nil {
		return err
	}
	probe, err := snap.Enter(in, packet)
	if err != nil {
		return err
	}
	var switchSays *plan.Trace
	unasked := "the database is another host's"
	if snap.Local {
		if _, unasked = probe.OFPort(); unasked == "" {
			if switchSays, err = conn.Trace(ctx, probe.Bridge, probe.Flow()); err != nil {
				return err
			}
		}
	}
	snap.Local = true // the sessions are those of the host, whatever can be done from here
	p := stored(ctx, conn, snap)
	answer := p.Answer(probe, switchSays)
	if len(names) > 0 {
		answer.Strays = nil
		answer.Verdicts = slices.DeleteFunc(answer.Verdicts, func(v plan.Verdict) bool { return !slices.Contains(names, v.Outcome.Name) })
	}
	if err := a.view().trace(answer, unasked); err != nil {
		return err
	}
	if answer.Agrees() {
		return nil
	}
	who := "for no session"
	var disagree []string
	for i := range answer.Verdicts {
		if v := &answer.Verdicts[i]; len(v.Disagreements) > 0 {
			disagree = append(disagree, v.Outcome.Name)
		}
	}
	if len(disagree) > 0 {
		who = "session " + strings.Join(disagree, ", ")
	}
	remedy := "look for rules and mirrors that others made"
	if !p.Empty() {
		remedy = "spanctl plan shows what is not as it should be, spanctl apply mends it"
	}
	return fmt.Errorf("%w: %s: the switch does not do what the policy says; %s", errDegraded, who, remedy)
}
