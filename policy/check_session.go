package policy

import (
	"reflect"
)

func (o *object) checkSession(s *Session) {
	for _, field := range []string{"include", "balance"} {
		if s.Fail == FailOpen && o.has("fail") && o.has(field) {
			o.wrong("fail", problemf("remove fail, or "+field, "with %s there is no telling which copies would be sent without rules", field))
		}
	}
	if list := o.values["destinations"]; list != nil && list.kind == kindList {
		o.checkDestinations(s, list)
	}
}

// checkDestinations checks what the destinations are to each other.
func (o *object) checkDestinations(s *Session, list *node) {
	at := o.path.field("destinations")
	if o.has("balance") && s.Balance == BalanceFlow && len(list.items) == 1 {
		o.wrong("balance", problemf("list two or more destinations, or remove balance", "there is nothing to share between one destination"))
	}
	if o.open[o.node] {
		return
	}
	for i := range s.Destinations {
		if o.unsound[list.items[i]] {
			continue // what it is to be is not known
		}
		if s.Destinations[i].VLAN != 0 && len(s.Destinations) > 1 {
			o.report(list.items[i], at.item(i), problemf("put it in a session of its own", "an RSPAN vlan is exclusive with other destinations"))
			continue
		}
		for j := range i {
			if !o.unsound[list.items[j]] && sameDestination(&s.Destinations[i], &s.Destinations[j]) {
				o.report(list.items[i], at.item(i), problemf("keep one of them", "is the same destination as destinations[%d]", j))
				break
			}
		}
	}
}

// sameDestination reports whether a and b are written differently at most.
func sameDestination(a, b *Destination) bool {
	return reflect.DeepEqual(plainDestination(a), plainDestination(b))
}

// plainDestination is d with defaults left out.
func plainDestination(d *Destination) Destination {
	out := *d
	if d.ERSPAN != nil && d.ERSPAN.Type == ERSPANTypeII {
		e := *d.ERSPAN
		e.Type = ""
		out.ERSPAN = &e
	}
	return out
}

// checkSelector refuses selectors that say nothing.
func (o *object) checkSelector(s *Selector) {
	if len(o.node.entries) == 0 {
		o.wrong("", problemf("write role: all to mean every port", "an empty selector says nothing"))
		return
	}
}
