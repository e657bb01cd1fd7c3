package ovstest

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Dump starts tcpdump at the NIC inside of its machine, as people do, and returns when it listens: a second opinion on
// what arrives there.
func (n *NIC) Dump(ctx context.Context) error {
	_, err := n.call(ctx, vmRequest{Do: "dump"})
	return err
}

// Dumped ends tcpdump when it has written that many frames, or shows no more of them, and returns how many it says it has
// captured. It is an error if it has lost some.
func (n *NIC) Dumped(ctx context.Context, frames int) (int, error) {
	return n.call(ctx, vmRequest{Do: "dumped", Frames: frames})
}

// A dump is a tcpdump that runs in a virtual machine.
type dump struct {
	cmd  *exec.Cmd
	mu   sync.Mutex
	said strings.Builder
	over chan struct{} // closed when it has said all
}

const dumpFile = "/dump.pcap"

func (v *insideVM) dump(r vmRequest) (int, error) {
	device, err := mustHave(r.MAC)
	if err != nil {
		return 0, err
	}
	// Of those that leave it has none, like a Capture. Its buffer is in KiB. It writes each at once.
	d := &dump{over: make(chan struct{})}
	d.cmd = exec.Command("/usr/bin/tcpdump", "-i", device.Name, "-Q", "in", "-B", "16384", "-U", "-Z", "root", "-w", dumpFile)
	out, err := d.cmd.StderrPipe()
	if err == nil {
		err = d.cmd.Start()
	}
	if err != nil {
		return 0, err
	}
	go func() {
		defer close(d.over)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			d.mu.Lock()
			d.said.WriteString(lines.Text() + "\n")
			d.mu.Unlock()
		}
	}()
	err = until(context.Background(), "tcpdump to listen", func() (bool, error) {
		select {
		case <-d.over:
			return false, fmt.Errorf("tcpdump: %s", d.text())
		default:
			return strings.Contains(d.text(), "listening on"), nil
		}
	})
	v.mu.Lock()
	v.dumping = d
	v.mu.Unlock()
	return 0, err
}

func (d *dump) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.said.String()
}

func (v *insideVM) dumped(r vmRequest) (int, error) {
	v.mu.Lock()
	d := v.dumping
	v.dumping = nil
	v.mu.Unlock()
	if d == nil {
		return 0, ErrClosed
	}
	err := until(context.Background(), "frames of tcpdump", func() (bool, error) {
		n, err := framesIn(dumpFile)
		return n >= r.Frames, err
	})
	if err != nil && !errors.Is(err, context.DeadlineExceeded) { // then it says how many there are
		return 0, err
	}
	if err := d.cmd.Process.Signal(unix.SIGINT); err != nil {
		return 0, err
	}
	<-d.over
	if err := d.cmd.Wait(); err != nil {
		return 0, fmt.Errorf("tcpdump: %w: %s", err, d.text())
	}
	var captured, received, dropped int
	_, counts, _ := strings.Cut(d.text(), "\n")
	if _, err := fmt.Sscanf(counts, "%d packets captured\n%d packets received by filter\n%d packets dropped by kernel", &captured, &received, &dropped); err != nil {
		return 0, fmt.Errorf("tcpdump: %w: %s", err, d.text())
	}
	if captured != received || dropped != 0 {
		return 0, fmt.Errorf("tcpdump: %s", d.text())
	}
	return captured, nil
}

// framesIn is how many frames are whole in a file of tcpdump's (pcap-savefile(5)).
func framesIn(name string) (n int, err error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	for at := 24; len(data) >= at+16; n++ {
		if at += 16 + int(binary.NativeEndian.Uint32(data[at+8:])); at > len(data) {
			break
		}
	}
	return n, nil
}
