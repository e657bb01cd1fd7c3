package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrRefused indicates that a session cannot be compiled on this switch: it
// needs a tier or a capability that is not there, breaks a limit, or would do
// harm. Test for it with errors.Is.
var ErrRefused = errors.New("plan refused")

// A Refusal says why a session cannot be compiled.
type Refusal struct {
	Session string `json:"session"`
	// Field is the policy field at fault ("destinations[0].erspan").
	Field string `json:"field"`
	// Tier is the tier that the field needs, empty if the refusal is not
	// about a tier.
	Tier Tier `json:"tier,omitempty"`
	// Problem says what is wrong, Remedy what would be right.
	Problem string `json:"problem"`
	Remedy  string `json:"remedy"`
	// Harm tells that the session would harm production: what stands of it is
	// taken down, where others that are refused keep their rows.
	Harm bool `json:"harm,omitempty"`
	// Host tells that it is for want of access to the host alone: an agent there can do it.
	Host bool `json:"host,omitempty"`
}

func (r *Refusal) Error() string {
	s := fmt.Sprintf("session %q: %s: %s", r.Session, r.Field, r.Problem)
	if r.Remedy != "" {
		s += "; " + r.Remedy
	}
	return s
}

// Is makes every Refusal match ErrRefused.
func (r *Refusal) Is(target error) bool { return target == ErrRefused }

// Refusals joins several refusals into one error, a line each.
type Refusals []*Refusal

func (rs Refusals) Error() string {
	lines := make([]string, len(rs))
	for i, r := range rs {
		lines[i] = r.Error()
	}
	return strings.Join(lines, "\n")
}

// Host reports whether an agent on the host can do what is refused.
func (rs Refusals) Host() bool {
	return !slices.ContainsFunc(rs, func(r *Refusal) bool { return !r.Host })
}

// Is makes Refusals match ErrRefused.
func (rs Refusals) Is(target error) bool { return target == ErrRefused }
