package plan

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// NewRule is a rule of ours: its cookie is its own, so that it can be told from
// others and removed by it.
func NewRule(table, priority int, match, actions string) Flow {
	f := Flow{Table: table, Priority: priority, Match: NormalMatch(match), Actions: actions}
	sum := sha256.Sum256([]byte(f.name()))
	f.Cookie = cookieMark | binary.BigEndian.Uint64(sum[:])>>16
	return f
}

// cookieMark is the upper 16 bits of the cookies of our rules: "SP".
const cookieMark = 0x5350 << 48

func (f *Flow) ours() bool { return f.Cookie>>48 == cookieMark>>48 }

// name is what a rule is known by on its bridge.
func (f *Flow) name() string {
	return joinFields(fmt.Sprintf("table=%d,priority=%d", f.Table, f.Priority), f.Match)
}

func flowRow(bridge string, f Flow, sessions []string) Row {
	return Row{
		Table: TableFlow, Bridge: bridge, Name: f.name(), Sessions: sessions, Tier: TierFlow,
		Columns: map[string]Value{colActions: {f.Actions}, colCookie: {fmt.Sprintf("0x%x", f.Cookie)}},
	}
}

// isNormal reports whether the rule is the one that ovs-vswitchd gives a bridge in
// fail mode standalone.
func isNormal(f Flow) bool {
	return f.Table == 0 && f.Priority == 0 && f.Match == "" && f.Actions == actionNormal
}

// rowsOfRules are the rules and meters of a tap bridge that is there, as rows.
func rowsOfRules(bridge *Bridge) []Row {
	var rows []Row
	for _, m := range bridge.Meters {
		rows = append(rows, meterRow(bridge.Name, m, splitNames(bridge.ExternalIDs[KeySession])))
	}
	for _, f := range bridge.Flows {
		if isNormal(f) && bridge.FailMode != failSecure {
			continue
		}
		rows = append(rows, flowRow(bridge.Name, f, bridge.sessionsBy(f.inPort())))
	}
	return rows
}

// sessionsBy are the sessions whose copies enter by the port with the number.
func (b *Bridge) sessionsBy(number int) []string {
	if p := b.portBy(number); p != nil {
		return splitNames(p.ExternalIDs[KeySession])
	}
	return nil
}

// portBy is the port of ours with the number, nil if there is none.
func (b *Bridge) portBy(number int) *Port {
	for p := range b.Ports {
		if port := &b.Ports[p]; port.Managed() && len(port.Interfaces) == 1 && port.Interfaces[0].OFPort == number && number > 0 {
			return port
		}
	}
	return nil
}

// inPort is the number of the port that the rule is for, 0 if it is for any.
func (f *Flow) inPort() int { return inPortOf(f.Match) }

func inPortOf(match string) int {
	for field := range strings.SplitSeq(match, ",") {
		if text, ok := strings.CutPrefix(field, "in_port="); ok {
			n, _ := strconv.Atoi(text) // a name is none of ours
			return n
		}
	}
	return 0
}

// keptRules are the rules of sessions that cannot be compiled, by patches that
// stay: those of ports in rows.
func (c *compiler) keptRules(rows []Row) []Row {
	var kept []Row
	have := map[rowKey]bool{}
	for i := range rows {
		have[rows[i].key()] = true
	}
	for b := range c.snap.Bridges {
		bridge := &c.snap.Bridges[b]
		for _, row := range rowsOfRules(bridge) {
			stays := len(c.brokenAmong(row.Sessions)) > 0
			if row.Table == TableFlow {
				port := bridge.portBy(inPortOf(row.Name))
				stays = stays && port != nil && have[rowKey{TablePort, "", port.Name}]
			}
			if stays && !have[row.key()] {
				kept = append(kept, row)
			}
		}
	}
	return kept
}
