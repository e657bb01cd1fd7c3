package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"spanctl/policy"
)

// Intent is what is wanted: every session by name, stored ones and those that
// a request adds or changes.
type Intent map[string]Wanted

// Wanted is one session of an Intent.
type Wanted struct {
	// Session is nil if the stored text could not be read; Err then says why.
	Session *policy.Session
	Err     error
	// Stored is the text that OVSDB holds, empty for a new session; Raw is the
	// text that it should hold. A session whose texts differ is changed.
	Stored, Raw string
}

func (w Wanted) changed() bool { return w.Stored != w.Raw }

// StoredIntent reads the intent that OVSDB holds. Sessions that cannot be read
// stay in it, with their error.
func StoredIntent(snap *Snapshot) Intent {
	intent := Intent{}
	for name, raw := range snap.Intent {
		w := Wanted{Stored: raw, Raw: raw}
		if !policy.ValidSessionName(name) {
			w.Err = fmt.Errorf("session name %q is not valid", name)
		} else if session, err := policy.ParseSession(KeyIntentPrefix+name, []byte(raw)); err != nil {
			w.Err = err
		} else {
			w.Session = session
		}
		intent[name] = w
	}
	return intent
}

// Put adds the session, or puts it in the place of the one of that name.
func (in Intent) Put(name string, session *policy.Session) error {
	raw, err := session.Canonical()
	if err != nil {
		return fmt.Errorf("session %q: %w", name, err)
	}
	in[name] = Wanted{Session: session, Stored: in[name].Stored, Raw: string(raw)}
	return nil
}

// Remotes lists the far ends of the sessions' tunnels: those whose routes
// [Snapshot.Routes] should tell.
func (in Intent) Remotes() []netip.Addr {
	var remotes []netip.Addr
	for _, w := range in {
		if w.Session == nil {
			continue
		}
		for i := range w.Session.Destinations {
			if d := &w.Session.Destinations[i]; isTunnel(d) {
				remotes = append(remotes, newTunnel(d).remote)
			}
		}
	}
	slices.SortFunc(remotes, netip.Addr.Compare)
	return slices.Compact(remotes)
}

// Files lists the files with keys that the sessions name.
func (in Intent) Files() []string {
	var files []string
	for _, w := range in {
		if w.Session == nil {
			continue
		}
		for i := range w.Session.Destinations {
			if d := &w.Session.Destinations[i]; isTunnel(d) {
				if t := newTunnel(d); t.pskFile != "" {
					files = append(files, t.pskFile)
				}
			}
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// Names lists the sessions, sorted.
func (in Intent) Names() []string { return slices.Sorted(maps.Keys(in)) }
