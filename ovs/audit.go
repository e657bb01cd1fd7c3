package ovs

import (
	"context"
	"log/slog"
	"strings"

	"spanctl/policy/plan"
)

// What a line of the log says that audit writes; ReadHistory reads it from the journal.
const (
	keyComment = "comment"
	keyNextCfg = "next_cfg"
)

// audit logs a transaction that was committed: what was changed of a session, or of several that share rows, for a
// reason, is a line.
func (c *Conn) audit(ctx context.Context, changes []plan.Change, comment string, nextCfg int) {
	type line struct{ sessions, reason string }
	var lines []line
	counts := map[line]int{}
	for i := range changes {
		l := line{strings.Join(changes[i].Sessions, ","), string(changes[i].Reason)}
		if counts[l]++; counts[l] == 1 {
			lines = append(lines, l)
		}
	}
	for _, l := range lines {
		c.log.LogAttrs(ctx, slog.LevelInfo, "changed", slog.String("session", l.sessions), slog.String("reason", l.reason),
			slog.Int("changes", counts[l]), slog.Int(keyNextCfg, nextCfg), slog.String(keyComment, comment))
	}
}
