package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// explain says what is wrong with the copies, nothing if they are what is wanted by some decision of balance and sample
// that agrees with those before. What they may have decided is then known better.
func (o *oracle) explain(list []oracleCopies, copies []oracleFrame) string {
	open := o.open(list)
	var names []string
	for name := range open {
		names = append(names, name)
	}
	slices.Sort(names)
	possible := map[string][]string{}
	var explained bool
	decided := map[string]string{}
	var try func(i int)
	try = func(i int) {
		if i == len(names) {
			if explains(neededBy(list, decided), copies) {
				explained = true
				for name, choice := range decided {
					if !slices.Contains(possible[name], choice) {
						possible[name] = append(possible[name], choice)
					}
				}
			}
			return
		}
		for _, choice := range open[names[i]] {
			decided[names[i]] = choice
			try(i + 1)
		}
	}
	try(0)
	if explained {
		for name, choices := range possible {
			o.choices[name] = choices
			o.count.choice(name, choices)
		}
		return ""
	}
	var b strings.Builder
	b.WriteString("copies wanted:\n")
	for _, w := range list {
		fmt.Fprintf(&b, "  for %s, taken on %s, to %s%s: %x\n", strings.Join(w.sessions, " and "), w.bridge, strings.Join(w.ports, ", "), w.decides(open), slices.CompactFunc(w.frames, bytes.Equal))
	}
	b.WriteString("copies made:\n")
	for _, c := range copies {
		fmt.Fprintf(&b, "  to %s: %x\n", c.to, c.frame)
	}
	return b.String()
}

func (w *oracleCopies) sampling() string {
	if w.Sample == "" || w.Sample == "1/1" {
		return ""
	}
	return "sample " + w.treatment + w.connection
}

func (w *oracleCopies) balancing() string {
	if w.Balance == "" {
		return ""
	}
	return "balance " + w.key + w.connection
}

// open is what balance and sample may decide for the packet, by name of the decision.
func (o *oracle) open(list []oracleCopies) map[string][]string {
	open := map[string][]string{}
	for i := range list {
		w := &list[i]
		if name := w.sampling(); name != "" {
			open[name] = []string{"keep", "drop"}
		}
		if name := w.balancing(); name != "" {
			open[name] = w.ports
		}
	}
	for name := range open {
		if known := o.choices[name]; known != nil {
			open[name] = known
		}
	}
	return open
}

// decides is how the decisions about the copies stand, for people.
func (w *oracleCopies) decides(open map[string][]string) string {
	said := ""
	if name := w.sampling(); name != "" {
		said += fmt.Sprintf(" (sample: %s)", strings.Join(open[name], " or "))
	}
	if name := w.balancing(); name != "" {
		said += fmt.Sprintf(" (balance: %s)", strings.Join(open[name], " or "))
	}
	return said
}

// An oracleNeed is a copy that must come: one of the frames.
type oracleNeed struct {
	to     string
	frames [][]byte
}

// is tells whether the copy is the one that is needed.
func (n *oracleNeed) is(copied oracleFrame) bool {
	return n.to == copied.to && slices.ContainsFunc(n.frames, func(f []byte) bool { return bytes.Equal(f, copied.frame) })
}

// neededBy are the copies by these decisions.
func neededBy(list []oracleCopies, decided map[string]string) []oracleNeed {
	var out []oracleNeed
	for i := range list {
		w := &list[i]
		if decided[w.sampling()] == "drop" {
			continue
		}
		for _, port := range w.ports {
			if name := w.balancing(); name == "" || decided[name] == port {
				out = append(out, oracleNeed{port, w.frames})
			}
		}
	}
	return out
}

// explains tells whether the copies are those that are needed, each once.
func explains(list []oracleNeed, copies []oracleFrame) bool {
	if len(list) != len(copies) {
		return false
	}
	if len(list) == 0 {
		return true
	}
	for i, c := range copies {
		if list[0].is(c) && explains(list[1:], slices.Delete(slices.Clone(copies), i, i+1)) {
			return true
		}
	}
	return false
}
