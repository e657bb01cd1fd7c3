package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// What an agent keeps in Open_vSwitch.external_ids, which ovs-vswitchd does not look at.
const (
	// KeyAgent holds the Lease of the agent that keeps the intent in force.
	KeyAgent = "spanctl/agent"
	// KeyReportPrefix precedes a session's name; the value is its Report.
	KeyReportPrefix = "spanctl/report/"
	// KeyChanging is there while a spanctl is between the steps of a change: until when it must be done, and which.
	KeyChanging = "spanctl/changing"
)

// A Lease says which agent keeps the intent of a database in force, and until when that is known. It renews its lease
// while it lives.
type Lease struct {
	Host string `json:"host"`
	PID  int    `json:"pid"`
	// PIDNamespace is that in which PID is the agent's, pid_namespaces(7), empty if it is not known.
	PIDNamespace string    `json:"pid_namespace,omitempty"`
	Version      string    `json:"version"`
	Until        time.Time `json:"until"`
	// Rules tells that the agent works on the database's host and makes rules there.
	Rules bool `json:"rules"`
}

// ParseLease reads what is stored under KeyAgent. A text that is none is no agent.
func ParseLease(text string) *Lease {
	var l Lease
	if json.Unmarshal([]byte(text), &l) != nil || l.Until.IsZero() {
		return nil
	}
	return &l
}

// leaseMost is how far ahead a lease may end: of one that ends later the clock was wrong, and nobody need stand by so long.
const leaseMost = 2 * time.Minute

// Alive reports whether the agent is known to live. The clocks of the two hosts should agree.
func (l *Lease) Alive(now time.Time) bool {
	return l != nil && now.Before(l.Until) && !l.Until.After(now.Add(leaseMost))
}

func (l *Lease) String() string { return fmt.Sprintf("on %s (pid %d)", l.Host, l.PID) }

// Text is what is stored under KeyAgent.
func (l *Lease) Text() string {
	text, _ := json.Marshal(l) // strings, numbers and times always encode
	return string(text)
}

// A Report is what an agent has found out about a session, and what others cannot know by themselves.
type Report struct {
	// Intent is the digest of the stored text that it is about.
	Intent string `json:"intent"`
	State  State  `json:"state"`
	Reason string `json:"reason,omitempty"`
	// Blind are the ports that are present and wanted and not copied, with when that was first so.
	Blind map[string]time.Time `json:"blind,omitempty"`
	// Still is since when the session's counters have stood still while its sources sent, nil if they do not.
	Still *time.Time `json:"still,omitempty"`
	// Contested are rows that somebody else keeps changing back, which are put back at intervals alone.
	Contested []string `json:"contested,omitempty"`
	// Failed is why the database or ovs-vswitchd refuses what the session needs, which is tried again now and then.
	Failed string `json:"failed,omitempty"`
}

// ParseReport reads what is stored under KeyReportPrefix, and is nil if that is none.
func ParseReport(text string) *Report {
	var r Report
	if json.Unmarshal([]byte(text), &r) != nil || r.Intent == "" {
		return nil
	}
	return &r
}

// Text is what is stored under KeyReportPrefix.
func (r *Report) Text() string {
	text, _ := json.Marshal(r) // strings, numbers and times always encode
	return string(text)
}

// About reports whether the report is about the session as it is stored.
func (r *Report) About(raw string) bool { return r != nil && r.Intent == Digest(raw) }

// Digest tells a session's stored text from others.
func Digest(raw string) string {
	sum := sha256.Sum256([]byte(raw))
	return hex.EncodeToString(sum[:6])
}
