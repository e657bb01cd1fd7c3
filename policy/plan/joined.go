package plan

import (
	"fmt"
	"slices"
	"strings"
)

// joined returns for each bridge a number that is the same for those that
// production patch ports join, directly or by others.
func (c *compiler) joined() []int32 {
	if c.roots != nil {
		return c.roots
	}
	root := make([]int32, len(c.snap.Bridges))
	for b := range root {
		root[b] = int32(b)
	}
	end := map[string]int32{} // bridge by patch Interface
	each := func(f func(b int32, i *Interface)) {
		for port, p := range c.ports {
			if isPatch(p) && !p.Managed() {
				f(c.bridge[port], &p.Interfaces[0])
			}
		}
	}
	each(func(b int32, i *Interface) { end[i.Name] = b })
	each(func(b int32, i *Interface) {
		other, ok := end[i.Options["peer"]]
		if !ok || root[other] == root[b] {
			return
		}
		was, is := max(root[b], root[other]), min(root[b], root[other])
		for at := range root {
			if root[at] == was {
				root[at] = is
			}
		}
	})
	c.roots = root
	return root
}

// doubles warns where one packet is copied on several bridges that it crosses:
// as it enters the one and as it leaves the other. Each enters only once.
func (c *compiler) doubles(groups []*group) []string {
	var list []string
	for _, d := range c.deliveries {
		byRoot, leaving := map[int32][]string{}, map[int32]bool{}
		for _, g := range groups {
			if g.delivery == d && len(g.rows) > 0 {
				root := c.joined()[g.bridge]
				leaving[root] = leaving[root] || slices.ContainsFunc(g.rows, func(r Row) bool {
					return len(r.Columns[colSelectDst]) > 0 || slices.Equal(r.Columns[colSelectAll], boolValue(true))
				})
				byRoot[c.joined()[g.bridge]] = append(byRoot[c.joined()[g.bridge]], c.snap.Bridges[g.bridge].Name)
			}
		}
		for root, bridges := range byRoot {
			if slices.Sort(bridges); len(bridges) > 1 && leaving[root] {
				list = append(list, fmt.Sprintf("session %s: bridges %s are joined by patch ports, and a packet that crosses several of them is copied on each; to have each packet once, select where it enters: {role: all, direction: from}",
					d.sessions[0].Name, strings.Join(bridges, ", ")))
			}
		}
	}
	return list
}
