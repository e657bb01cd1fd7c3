package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"spanctl/ovs"
	"spanctl/policy"
	"spanctl/policy/plan"
)

// textView writes for people.
type textView struct {
	out    io.Writer
	colour bool
}

func (v *textView) flush(b *bytes.Buffer) error {
	_, err := v.out.Write(b.Bytes())
	return err
}

func (v *textView) valid(sessions map[string]*policy.Session) error {
	_, err := fmt.Fprintf(v.out, "valid: %s\n", count(len(sessions), "session"))
	return err
}

func (v *textView) sessions(doc *policy.Document) error {
	text, err := policy.Format(doc)
	if err != nil {
		return err
	}
	if len(doc.Sessions) == 0 {
		text = append([]byte("# no sessions are stored\n"), text...)
	}
	_, err = v.out.Write(text)
	return err
}

// imports writes a policy; what it does not say is in comments.
func (v *textView) imports(imports []plan.Import) error {
	doc := &policy.Document{Version: policy.Version, Sessions: map[string]*policy.Session{}}
	var b bytes.Buffer
	for i := range imports {
		if imports[i].Session != nil {
			doc.Sessions[imports[i].Name] = imports[i].Session
		}
		for _, note := range imports[i].Notes {
			fmt.Fprintf(&b, "# mirror %s of bridge %s: %s\n", imports[i].Mirror, imports[i].Bridge, note)
		}
	}
	if len(imports) == 0 {
		b.WriteString("# there are no foreign mirrors\n")
	}
	text, err := policy.Format(doc)
	if err != nil {
		return err
	}
	b.Write(text)
	return v.flush(&b)
}

func (v *textView) version(info versionInfo) error {
	_, err := fmt.Fprintf(v.out, "spanctl %s (%s, policy language %d)\n", info.Version, info.Go, info.Policy)
	return err
}

func (v *textView) plan(p *plan.Plan) error {
	var b bytes.Buffer
	v.writePlan(&b, p)
	for _, o := range p.Outcomes {
		if o.State == plan.StateActive {
			fmt.Fprintf(&b, "session %s: %s to %s, %s tier\n", o.Name, count(o.SourceCount(), "port"), where(o), o.Tier)
		} else {
			fmt.Fprintf(&b, "session %s: %s (%s)\n", o.Name, o.State, o.Reason)
		}
	}
	writeWarnings(&b, p)
	return v.flush(&b)
}

// writePlan writes the changes like a diff.
func (v *textView) writePlan(b *bytes.Buffer, p *plan.Plan) {
	if p.Empty() {
		b.WriteString("No changes: everything is as it should be.\n")
		return
	}
	counts := map[plan.Action]int{}
	rules := 0 // of one bridge
	for i := range p.Changes {
		c := &p.Changes[i]
		counts[c.Action]++
		if c.Table == plan.TableFlow {
			if i == 0 || p.Changes[i-1].Table != c.Table || p.Changes[i-1].Bridge != c.Bridge {
				rules = 0
			}
			rules++
			v.writeRule(b, c, rules, i+1 == len(p.Changes) || p.Changes[i+1].Table != c.Table || p.Changes[i+1].Bridge != c.Bridge)
			continue
		}
		where := ""
		if c.Bridge != "" {
			where = " on bridge " + c.Bridge
		}
		tier := ""
		if c.Tier != "" {
			tier = fmt.Sprintf("[%s] ", c.Tier)
		}
		fmt.Fprintf(b, "%s %s %s%s  %s%s\n", v.paint(c.Action), strings.ToLower(string(c.Table)), c.Name, where, tier, c.Detail)
		if c.Table == plan.TableIntent {
			writeFields(b, c)
		} else {
			writeColumns(b, c)
		}
	}
	fmt.Fprintf(b, "%d to add, %d to change, %d to remove.\n", counts[plan.Create], counts[plan.Update], counts[plan.Delete])
}

// writeRule writes a rule, the nth of those of a bridge that change, on one line: of
// many the first, and after the last how many there are.
func (v *textView) writeRule(b *bytes.Buffer, c *plan.Change, n int, last bool) {
	const most = 24
	if n == 1 {
		fmt.Fprintf(b, "  rules of tap bridge %s  [%s] %s\n", c.Bridge, c.Tier, c.Detail)
	}
	if n <= most {
		d := c.Columns["actions"]
		actions := strings.Join(d.New, "")
		switch {
		case c.Action == plan.Delete:
			actions = strings.Join(d.Old, "")
		case c.Action == plan.Update && !slices.Equal(d.Old, d.New):
			actions = strings.Join(d.Old, "") + " -> " + actions
		}
		fmt.Fprintf(b, "%s     %s  %s\n", v.paint(c.Action), c.Name, actions)
	}
	if last && n > most {
		fmt.Fprintf(b, "      ... %d in all; -o json shows them\n", n)
	}
}

// writeFields writes which fields of a stored session change.
func writeFields(b *bytes.Buffer, c *plan.Change) {
	if c.Action != plan.Update {
		return // the policy says it all
	}
	fields := func(v plan.Value) map[string]json.RawMessage {
		var m map[string]json.RawMessage
		if len(v) == 1 {
			_ = json.Unmarshal([]byte(v[0]), &m) // what others wrote badly has no fields
		}
		return m
	}
	was, is := fields(c.Columns["intent"].Old), fields(c.Columns["intent"].New)
	names := map[string]bool{}
	for name := range was {
		names[name] = true
	}
	for name := range is {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if old, now := string(was[name]), string(is[name]); old != now {
			fmt.Fprintf(b, "      %s  %s -> %s\n", name, cmp.Or(old, "(none)"), cmp.Or(now, "(none)"))
		}
	}
}

// writeColumns writes what a change does to columns: new content of new rows,
// old and new of changed ones.
func writeColumns(b *bytes.Buffer, c *plan.Change) {
	if c.Action == plan.Delete {
		return
	}
	table := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, column := range slices.Sorted(maps.Keys(c.Columns)) {
		d := c.Columns[column]
		switch {
		case c.Action == plan.Create && len(d.New) == 0, c.Action == plan.Create && slices.Equal(d.New, plan.Value{"false"}):
		case c.Action == plan.Create:
			fmt.Fprintf(table, "      %s\t%s\n", column, short(d.New))
		case len(d.Old) > 1 || len(d.New) > 1 || strings.HasPrefix(column, "select_"):
			fmt.Fprintf(table, "      %s\t%s\n", column, setDelta(d))
		default:
			fmt.Fprintf(table, "      %s\t%s -> %s\n", column, orNone(d.Old), orNone(d.New))
		}
	}
	_ = table.Flush() // into memory
}

// setDelta says what a set gains and loses.
func setDelta(d plan.Delta) string {
	var parts []string
	var gained, lost plan.Value
	old, have := map[string]bool{}, map[string]bool{}
	for _, atom := range d.Old {
		old[atom] = true
	}
	for _, atom := range d.New {
		have[atom] = true
		if !old[atom] {
			gained = append(gained, atom)
		}
	}
	for _, atom := range d.Old {
		if !have[atom] {
			lost = append(lost, atom)
		}
	}
	if len(gained) > 0 {
		parts = append(parts, "+ "+short(gained))
	}
	if len(lost) > 0 {
		parts = append(parts, "- "+short(lost))
	}
	return strings.Join(parts, "  ")
}

// short writes a set, and of a long one the beginning.
func short(v plan.Value) string {
	const most = 12
	if len(v) > most {
		return fmt.Sprintf("%s, ... (%d in all)", strings.Join(v[:most], ", "), len(v))
	}
	return strings.Join(v, ", ")
}

func orNone(v plan.Value) string {
	if len(v) == 0 || v[0] == "" {
		return "(none)"
	}
	return short(v)
}

var colours = map[plan.Action]string{plan.Create: "32", plan.Update: "33", plan.Delete: "31"}

func (v *textView) paint(a plan.Action) string {
	if !v.colour {
		return string(a)
	}
	return "\x1b[" + colours[a] + "m" + string(a) + "\x1b[0m"
}

func (v *textView) applied(a *ovs.Applied, health []plan.Health) error {
	var b bytes.Buffer
	v.writePlan(&b, a.Plan)
	writeWarnings(&b, a.Plan)
	switch {
	case a.Committed && health == nil:
		b.WriteString("Committed.\n")
	case a.Committed:
		b.WriteString("In force.\n")
	}
	writeHealth(&b, health)
	return v.flush(&b)
}

func (v *textView) status(health []plan.Health, agent *plan.Lease) error {
	var b bytes.Buffer
	if agent != nil {
		fmt.Fprintf(&b, "agent: %s\n", agent)
	} else if len(health) > 0 {
		b.WriteString("agent: none; since when a port is not copied is unknown\n")
	}
	if len(health) == 0 {
		b.WriteString("No sessions are stored.\n")
	}
	writeHealth(&b, health)
	return v.flush(&b)
}

// writeHealth writes a block a session: its state, what is copied where, and
// what is wrong.
func writeHealth(b *bytes.Buffer, health []plan.Health) {
	for i := range health {
		h := &health[i]
		o := h.Outcome
		fmt.Fprintf(b, "session %s: %s", o.Name, h.State)
		if o.Reason != "" && h.State == o.State {
			fmt.Fprintf(b, " (%s)", o.Reason)
		}
		b.WriteString("\n")
		if h.State == plan.StateActive || h.State == plan.StateDegraded {
			fmt.Fprintf(b, "  copies %d of %s to %s\n", h.Copied, count(o.SourceCount(), "port"), where(o))
		} else if len(h.Blind) > 0 {
			fmt.Fprintf(b, "  not copied: %s\n", short(h.Blind))
		}
		for p := range h.Places {
			writePlace(b, &h.Places[p], o.Tier)
		}
		for _, m := range h.Mirrors {
			if m.Counters != nil {
				of := ""
				if m.Bridge != h.Mirrors[0].Bridge || m.Bridge != h.Mirrors[len(h.Mirrors)-1].Bridge {
					of = " of bridge " + m.Bridge
				}
				fmt.Fprintf(b, "  mirror %s%s: %s, %s\n", m.Name, of, count(int(m.Counters.Packets), "copy", "copies"), count(int(m.Counters.Bytes), "byte"))
			}
		}
		if h.LeftOut != nil {
			fmt.Fprintf(b, "  left out: %s\n", count(int(*h.LeftOut), "packet"))
		}
		if h.OverRate != nil {
			fmt.Fprintf(b, "  over %s, not sent: %s\n", o.Session.MaxRate, count(int(*h.OverRate), "copy", "copies"))
		}
		for _, note := range h.Notes {
			fmt.Fprintf(b, "  %s\n", note)
		}
		writeReport(b, h)
		for _, problem := range h.Problems {
			fmt.Fprintf(b, "  ! %s\n", problem)
		}
	}
}

// writeReport writes what only the agent knows.
func writeReport(b *bytes.Buffer, h *plan.Health) {
	if h.Report == nil {
		return
	}
	for _, port := range h.Blind {
		if since, known := h.Report.Blind[port]; known {
			fmt.Fprintf(b, "  ! %s is not copied since %s\n", port, since.Format(time.RFC3339))
		}
	}
	if since := h.Report.Still; since != nil {
		fmt.Fprintf(b, "  ! no copies since %s, while sources send\n", since.Format(time.RFC3339))
	}
	if rows := h.Report.Contested; len(rows) > 0 {
		fmt.Fprintf(b, "  ! somebody else keeps changing back: %s\n", strings.Join(rows, ", "))
	}
	if why := h.Report.Failed; why != "" {
		fmt.Fprintf(b, "  ! the agent tries again now and then: %s\n", printable(why))
	}
}

// writePlace writes a line for a destination, if anything is known of it.
func writePlace(b *bytes.Buffer, p *plan.PlaceHealth, tier plan.Tier) {
	var facts []string
	add := func(known bool, format string, args ...any) {
		if known {
			facts = append(facts, fmt.Sprintf(format, args...))
		}
	}
	add(p.Absent != "", "absent")
	add(p.Egress != "", "leaves by %s", p.Egress)
	add(p.Link != "", "link %s", p.Link)
	add(p.MTU > 0, "MTU %d", p.MTU)
	if p.Copies != nil && tier != plan.TierDirect { // there the mirrors' lines say it
		add(true, "%s", count(int(p.Copies.Packets), "copy", "copies"))
	}
	if p.Losses != nil {
		add(p.Losses.Dropped > 0, "%d not sent", p.Losses.Dropped)
		add(p.Losses.TooLarge > 0, "%d too large", p.Losses.TooLarge)
	}
	if len(facts) > 0 {
		fmt.Fprintf(b, "  to %s: %s\n", p.Label(), strings.Join(facts, ", "))
	}
	if p.Narrow != "" {
		fmt.Fprintf(b, "    %s\n", p.Narrow)
	}
}

func writeWarnings(b *bytes.Buffer, p *plan.Plan) {
	for _, w := range p.Warnings {
		fmt.Fprintf(b, "warning: %s\n", w)
	}
}

// where says where a session's copies go.
func where(o *plan.Outcome) string {
	switch {
	case o.Tier != plan.TierDirect:
		return o.Destination + " by tap bridge " + o.Bridge
	case o.Bridge == "":
		return o.Destination
	}
	return o.Destination + " of bridge " + o.Bridge
}

// count writes a number with its noun; the plural has an s unless given.
func count(n int, noun string, plural ...string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case len(plural) > 0:
		return fmt.Sprintf("%d %s", n, plural[0])
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
