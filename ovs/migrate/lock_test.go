package migrate

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLockStuck ends a process that has the lock for too long, and says who has it to those who cannot wait.
func TestLockStuck(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	f := &Folder{t.TempDir()}
	lock, err := f.act(ctx, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	lock.Release()
	// flock(1) becomes the command, which ends when its input does.
	stuck := exec.CommandContext(ctx, "flock", "--no-fork", filepath.Join(f.dir, lockAct), "sh", "-c", "echo; exec cat")
	input, err := stuck.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	output, err := stuck.StdoutPipe()
	if err == nil {
		err = stuck.Start()
	}
	if err == nil {
		_, err = output.Read(make([]byte, 1))
	}
	if err != nil {
		t.Fatal(err)
	}
	now, end := context.WithCancel(ctx)
	end()
	if _, err := f.Act(now); !errors.Is(err, ErrUnfinished) || !strings.Contains(err.Error(), fmt.Sprintf("process %d ", stuck.Process.Pid)) {
		t.Errorf("while it is held: %v", err)
	}
	if lock, err = f.act(ctx, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	lock.Release()
	if err := stuck.Wait(); err == nil {
		t.Error("who had it was not ended")
	}
}
