package plan

import "strings"

// A Place is where one destination of a session is.
type Place struct {
	// Name is what the policy says, of a tunnel in short.
	Name string
	// Port is the Port that copies leave by, empty for an RSPAN VLAN and while
	// the destination is absent; Bridge is its home, empty for all but a local port.
	Port, Bridge string
	// Absent says what is awaited, empty for a destination that is present.
	Absent string
	// Narrow says which copies are too large for the destination, empty if none is
	// as far as is known.
	Narrow string
}

// places tells what the targets are, for people: o.Places.
func (c *compiler) places(o *Outcome) []Place {
	places := make([]Place, len(o.targets))
	for i, t := range o.targets {
		p := &places[i]
		p.Name = describeDestination(&o.Session.Destinations[i])
		switch {
		case t.port >= 0:
			p.Port, p.Bridge = c.ports[t.port].Name, c.snap.Bridges[c.bridge[t.port]].Name
		case t.tunnel != nil:
			p.Port = t.tunnel.name
		case t.rspan():
		default:
			p.Absent = o.awaited[i]
		}
	}
	return places
}

// Label is what people call the place: a port by its name.
func (p *Place) Label() string {
	if p.Bridge != "" {
		return p.Port
	}
	return p.Name
}

func labels(places []Place) string {
	names := make([]string, len(places))
	for i := range places {
		names[i] = places[i].Label()
	}
	return strings.Join(names, ", ")
}
