package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Reason names why a change is made.
type Reason string

// The reasons.
const (
	ReasonNew      Reason = "session-new"
	ReasonChanged  Reason = "session-changed"
	ReasonDeleted  Reason = "session-deleted"
	ReasonDisabled Reason = "session-disabled"
	ReasonExpired  Reason = "session-expired"
	ReasonWaiting  Reason = "session-waiting"
	ReasonPorts    Reason = "ports-changed"
	ReasonMissing  Reason = "row-missing"
	ReasonDrift    Reason = "drift"
	ReasonOrphan   Reason = "orphan"
	ReasonTags     Reason = "vlan-tags"
	ReasonTier     Reason = "tier-changed"
	ReasonBorrow   Reason = "borrow"
	ReasonGiveBack Reason = "give-back"
	ReasonAdopt    Reason = "adopt"
	ReasonFollow   Reason = "running-connections"
)

// explain sets the reasons of the changes that Diff found.
func explain(changes []Change, intent Intent, outcomes []*Outcome) {
	byName := map[string]*Outcome{}
	for _, o := range outcomes {
		byName[o.Name] = o
	}
	for i := range changes {
		c := &changes[i]
		switch c.Table {
		case TableIntent:
			c.Reason, c.Detail = explainIntent(c)
		case TablePort:
			if _, ours := c.Columns[colType]; !ours && !c.ours() {
				c.Reason, c.Detail = explainPort(c)
				break
			}
			c.Reason, c.Detail = explainRow(c, intent, byName)
		case TableBridge, TableMirror:
			c.Reason, c.Detail = explainRow(c, intent, byName)
		case TableFlow, TableMeter:
			if c.Reason, c.Detail = explainRow(c, intent, byName); c.foreign() {
				c.Reason, c.Detail = ReasonDrift, "a rule that spanctl did not make"
			}
		}
	}
}

func explainIntent(c *Change) (Reason, string) {
	switch c.Action {
	case Create:
		return ReasonNew, "new session"
	case Delete:
		return ReasonDeleted, "session deleted"
	}
	return ReasonChanged, "session changed"
}

// foreign reports whether the change is about a rule that spanctl did not make.
func (c *Change) foreign() bool {
	cookie := c.Columns[colCookie].Old
	if c.Table != TableFlow || len(cookie) == 0 {
		return false
	}
	n, err := strconv.ParseUint(cookie[0], 0, 64)
	f := Flow{Cookie: n}
	return err != nil || !f.ours()
}

// ours reports whether the row that changes is one that spanctl made.
func (c *Change) ours() bool { return strings.HasPrefix(c.Name, "spanctl-") }

func explainPort(c *Change) (Reason, string) {
	mode := c.Columns[colVLANMode]
	ids, noted := c.Columns[colIDs]
	if moved, ok := c.Columns[colBridge]; ok {
		isHome := func(atom string) bool { return strings.HasPrefix(atom, keySavedBridge+"=") }
		if noted && slices.ContainsFunc(ids.Old, isHome) && !slices.ContainsFunc(ids.New, isHome) {
			return ReasonGiveBack, "given back to bridge " + moved.New[0]
		}
		return ReasonBorrow, "borrowed from bridge " + moved.Old[0] + ", which is kept in external_ids: copies come by the tap bridge"
	}
	if len(c.Sessions) == 0 || noted && len(ids.New) == 0 {
		return ReasonGiveBack, "destination no longer: the port gets its own VLAN mode back"
	}
	if number, ok := c.Columns[colRequest]; ok && len(mode.New) == 0 {
		return ReasonDrift, "rules send to it by number " + strings.Join(number.New, "")
	}
	if slices.Equal(mode.New, Value{modeFor(true)}) {
		return ReasonTags, "strip_vlan: copies lose their outermost tag; the old mode is kept in external_ids"
	}
	return ReasonTags, "copies keep the tags they had; the old mode is kept in external_ids"
}

func explainRow(c *Change, intent Intent, byName map[string]*Outcome) (Reason, string) {
	for _, name := range c.Sessions {
		w, ok := intent[name]
		if !ok {
			continue
		}
		if o := byName[name]; c.Action == Delete && o.State != StateActive {
			reason := map[State]Reason{StateDisabled: ReasonDisabled, StateExpired: ReasonExpired, StateWaiting: ReasonWaiting, StateInvalid: ReasonChanged, StateRefused: ReasonChanged}[o.State]
			return reason, fmt.Sprintf("session %s is %s: %s", name, o.State, o.Reason)
		}
		if w.changed() {
			if w.Stored == "" {
				return ReasonNew, fmt.Sprintf("session %s is new", name)
			}
			return ReasonChanged, fmt.Sprintf("session %s is changed", name)
		}
	}
	if detail := tierChange(c, intent, byName); detail != "" {
		return ReasonTier, detail
	}
	if c.Action == Create && c.Table.ofRules() {
		return ReasonMissing, "it is not there: ovs-vswitchd forgets rules when it ends"
	}
	if c.Action == Create {
		return ReasonMissing, fmt.Sprintf("session %s wants it and it is not there", strings.Join(c.Sessions, ","))
	}
	if c.Action == Delete {
		if len(c.Sessions) == 0 {
			return ReasonOrphan, "serves no session"
		}
		if _, ok := intent[c.Sessions[0]]; !ok {
			return ReasonDeleted, fmt.Sprintf("session %s is deleted", strings.Join(c.Sessions, ","))
		}
		return ReasonOrphan, "no longer needed"
	}
	for _, name := range sessionsIn(c.Columns[colIDs].Old) {
		if !slices.Contains(c.Sessions, name) {
			return ReasonDeleted, fmt.Sprintf("session %s no longer shares it", name)
		}
	}
	for col, d := range c.Columns {
		if c.Table != TableMirror && col == colIDs && len(c.Columns) == 1 {
			return ReasonChanged, "serves other sessions"
		}
		gone := col == colOutputPort && len(d.Old) == 0 // the Port was deleted under it
		if col != colSelectSrc && col != colSelectDst && !gone {
			return ReasonDrift, "not as spanctl left it"
		}
	}
	return ReasonPorts, "ports came or went"
}

// tierChange says that the row changes because a session that shares it needs a
// tap bridge now, or does so no longer; nothing if that is not so.
func tierChange(c *Change, intent Intent, byName map[string]*Outcome) string {
	for _, name := range c.Sessions {
		o := byName[name]
		if o == nil || o.tap == nil {
			continue
		}
		if raised := o.tap.raised; c.Tier != TierDirect && raised != nil && intent[raised.Name].changed() {
			return fmt.Sprintf("session %s needs the tap bridge: %s", raised.Name, o.tap.why)
		}
		if out, ok := c.Columns[colOutputPort]; ok && o.tap.tier == TierDirect && len(out.Old) > 0 && strings.HasPrefix(out.Old[0], "spanctl-") {
			return "the tap bridge is no longer needed"
		}
	}
	return ""
}

// sessionsIn reads the sessions from the atoms of an external_ids column.
func sessionsIn(ids Value) []string {
	for _, atom := range ids {
		if list, ok := strings.CutPrefix(atom, KeySession+"="); ok {
			return splitNames(list)
		}
	}
	return nil
}
