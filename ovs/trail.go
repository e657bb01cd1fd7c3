package ovs

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"spanctl/policy/plan"
)

// A Trail is what a transaction of spanctl leaves in the database's log, as its
// comment: who did what, and why.
//
//	spanctl VERB by USER@HOST (pid N)[ STEP][: SESSION: REASON[, REASON][; SESSION: REASON]]
//
// Apply adds the step and the reasons to what its caller says of itself, and
// ParseTrail reads all of it back.
type Trail struct {
	// Verb is the command, By is USER@HOST.
	Verb, By string
	PID      int
	// Step is StepPrepares or StepUndoes, empty for the transaction by which a plan
	// comes into force.
	Step string
	// Sessions are the reasons of the changes by session; those of rows that serve
	// none are under "".
	Sessions map[string][]plan.Reason
}

// The steps of an Apply beside the one that puts its plan in force.
const (
	StepPrepares = "prepares" // makes what is inert, before the rules
	StepUndoes   = "undoes"   // removes that again
)

// String is the comment.
func (t Trail) String() string {
	return fmt.Sprintf("spanctl %s by %s (pid %d)", word(t.Verb), word(t.By), t.PID) + did(t.Step, t.Sessions)
}

// did is the part of a comment that Apply adds.
func did(step string, sessions map[string][]plan.Reason) string {
	var b strings.Builder
	if step != "" {
		b.WriteString(" " + word(step))
	}
	before := ": "
	for _, name := range slices.Sorted(maps.Keys(sessions)) {
		b.WriteString(before + word(name))
		before = ": "
		for _, reason := range sessions[name] {
			b.WriteString(before + word(string(reason)))
			before = ", "
		}
		before = "; "
	}
	return b.String()
}

// why are the reasons of changes by session, sorted. The inert ports that make running
// connections follow serve no session and come with almost everything: they count if
// there is nothing else.
func why(changes []plan.Change) map[string][]plan.Reason {
	sessions := map[string][]plan.Reason{}
	add := func(name string, reason plan.Reason) {
		if at, there := slices.BinarySearch(sessions[name], reason); !there {
			sessions[name] = slices.Insert(sessions[name], at, reason)
		}
	}
	follows := false
	for i := range changes {
		c := &changes[i]
		for _, name := range c.Sessions {
			add(name, c.Reason)
		}
		if len(c.Sessions) == 0 && c.Reason == plan.ReasonFollow {
			follows = true
		} else if len(c.Sessions) == 0 {
			add("", c.Reason)
		}
	}
	if follows && len(sessions) == 0 {
		add("", plan.ReasonFollow)
	}
	return sessions
}
