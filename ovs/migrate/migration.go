package migrate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"spanctl/ovs"
)

// A Migration is one under way. Its methods need the lock of its folder ([Folder.TryAct]).
type Migration struct {
	*Journal
	folder  *Folder
	conn    *ovs.Conn
	comment string // of transactions

	cut     time.Time // when the first port left the Linux bridge
	nextCfg int       // of the transaction with the ports
}

// beginning is how long it may take from the journal to the first step.
const beginning = time.Minute

// Free is ErrUnfinished if a migration is under way, among those in the folder of all, that has to do with the bridge.
func Free(all, bridge string) error {
	folders, err := Folders(all)
	if err != nil {
		return err
	}
	for _, f := range folders {
		j, err := f.Read()
		if err != nil || j.Phase.over() || j.Stale() || !slices.Contains([]string{j.Layout.Bridge, j.Layout.New, j.Layout.Parked}, bridge) {
			continue
		}
		return fmt.Errorf("%w (%s since %s): spanctl bridge revert %s puts everything back",
			ErrUnfinished, j.Phase, j.Started.Format(time.RFC3339), j.Layout.Bridge)
	}
	return nil
}

// Begin writes the journal of a migration that changes nothing yet.
func Begin(f *Folder, s *State, l *Layout, terms Terms, conn *ovs.Conn, pid int, comment string) (*Migration, error) {
	now := time.Now().UTC()
	j := &Journal{
		FormatVersion: FormatVersion, Phase: Migrating, BootID: bootID(), PID: pid, Started: now, Terms: terms,
		Deadline: now.Add(beginning), State: s, Layout: l,
	}
	return &Migration{Journal: j, folder: f, conn: conn, comment: comment}, f.Write(j)
}

// Resume is the migration of a journal.
func Resume(f *Folder, j *Journal, conn *ovs.Conn, comment string) *Migration {
	return &Migration{Journal: j, folder: f, conn: conn, comment: comment}
}

// Run does the steps, each told to the journal and to told before it begins; after limit they fail, and a process that has not
// noticed by then is stuck, and is ended by the watchdog. Then the migration is to be confirmed until the deadline. After an
// error everything must be put back.
func (m *Migration) Run(ctx context.Context, limit time.Duration, told func(Step)) error {
	const grace = 2 * time.Second
	m.Deadline = time.Now().UTC().Add(limit + grace)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, step := range Steps(m.Layout) {
		if err := ctx.Err(); err != nil {
			return err
		}
		m.Step = step.Name
		if err := m.folder.Write(m.Journal); err != nil {
			return err
		}
		told(step)
		if err := step.run(ctx, m); err != nil {
			return fmt.Errorf("step %s: %w", step.Name, err)
		}
	}
	m.Phase, m.Step, m.Deadline = Migrated, "", time.Now().UTC().Add(m.Confirm)
	return m.folder.Write(m.Journal)
}

// differ is ErrDiffers with what is otherwise than wanted, nil if nothing is.
func differ(list []string) error {
	if len(list) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrDiffers, strings.Join(list, "; "))
}
