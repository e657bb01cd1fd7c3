package migrate

import (
	"context"
	"fmt"
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

// atMost is how long the steps of a migration may take before who watches takes them for stuck.
const atMost = time.Minute

// Free is ErrUnfinished if a migration is under way, among those in the folder of all, that has to do with the bridge.
func Free(all, bridge string) error {
	folders, err := Folders(all)
	if err != nil {
		return err
	}
	for _, f := range folders {
		j, err := f.Read()
		if err != nil || j.Phase.over() || j.Stale() || bridge != j.Layout.Bridge && bridge != j.Layout.New && bridge != j.Layout.Parked {
			continue
		}
		return fmt.Errorf("%w (%s since %s): spanctl bridge revert %s puts everything back",
			ErrUnfinished, j.Phase, j.Started.Format(time.RFC3339), j.Layout.Bridge)
	}
	return nil
}

// Begin writes the journal of a migration that changes nothing yet.
func Begin(f *Folder, s *State, l *Layout, confirm time.Duration, conn *ovs.Conn, pid int, comment string) (*Migration, error) {
	now := time.Now().UTC()
	j := &Journal{
		FormatVersion: FormatVersion, Phase: Migrating, BootID: bootID(), PID: pid, Started: now, Confirm: confirm,
		Deadline: now.Add(atMost), State: s, Layout: l,
	}
	return &Migration{Journal: j, folder: f, conn: conn, comment: comment}, f.Write(j)
}

// Resume is the migration of a journal.
func Resume(f *Folder, j *Journal, conn *ovs.Conn, comment string) *Migration {
	return &Migration{Journal: j, folder: f, conn: conn, comment: comment}
}

// Run does the steps, each told to the journal and to told before it begins. Then the migration is to be confirmed until
// the deadline. After an error everything must be put back.
func (m *Migration) Run(ctx context.Context, told func(Step)) error {
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
