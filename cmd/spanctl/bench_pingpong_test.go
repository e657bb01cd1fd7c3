package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// playPingPong makes the test binary, started again in a guest, one side of a ping-pong: "ping ADDR:PORT" or "pong
// ADDR:PORT". They are processes of their own, with sockets that block, so that the time is the switch's and the
// kernel's rather than the Go scheduler's.
const playPingPong = "SPANCTL_BENCH_PINGPONG"

func init() {
	play, addr, _ := strings.Cut(os.Getenv(playPingPong), " ")
	if play == "" {
		return
	}
	runtime.LockOSThread()
	at, err := netip.ParseAddrPort(addr)
	if err == nil && play == "ping" {
		err = ping(at, os.Stdin, os.Stdout)
	} else if err == nil {
		err = pong(at)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// pong sends back what it gets.
func pong(at netip.AddrPort) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	var ball [8]byte
	for {
		n, from, err := unix.Recvfrom(fd, ball[:], 0)
		if err == nil {
			err = unix.Sendto(fd, ball[:n], 0, from)
		}
		if err != nil && err != unix.EINTR {
			return os.NewSyscallError("pong", err)
		}
	}
}

// ping answers every line, a number of round trips, with their median time in nanoseconds. Trips without an end do not count.
func ping(to netip.AddrPort, in io.Reader, out io.Writer) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	patience := unix.NsecToTimeval(int64(100 * time.Millisecond))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		return os.NewSyscallError("setsockopt SO_RCVTIMEO", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		return os.NewSyscallError("connect", err)
	}
	serial := uint64(0)
	for lines := bufio.NewScanner(in); lines.Scan(); {
		trips, err := strconv.Atoi(lines.Text())
		if err != nil {
			return err
		}
		var times []time.Duration
		for len(times) < trips {
			serial++
			start := time.Now()
			if back(fd, serial) {
				times = append(times, time.Since(start))
			}
		}
		slices.Sort(times)
		fmt.Fprintln(out, times[len(times)/2].Nanoseconds())
	}
	return nil
}

// back sends a ball and says whether it came back.
func back(fd int, serial uint64) bool {
	var ball, caught [8]byte
	binary.NativeEndian.PutUint64(ball[:], serial)
	if _, err := unix.Write(fd, ball[:]); err != nil {
		return false
	}
	for caught != ball { // an earlier one may come late
		if _, err := unix.Read(fd, caught[:]); err != nil && err != unix.EINTR {
			return false
		}
	}
	return true
}

// A pinger is where the ping process takes orders and answers.
type pinger struct {
	orders  io.Writer
	answers *bufio.Scanner
}

// startPingPong starts ping in a and pong in b.
func (r *rig) startPingPong() {
	side := func(play string) *exec.Cmd {
		cmd := exec.CommandContext(r.ctx, "/proc/self/exe")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s:7777", playPingPong, play, r.b.Addr()))
		return cmd
	}
	r.start(r.b, side("pong"))
	ping := side("ping")
	orders, err := ping.StdinPipe()
	r.check(err)
	answers, err := ping.StdoutPipe()
	r.check(err)
	r.start(r.a, ping)
	r.ping = pinger{orders, bufio.NewScanner(answers)}
}

// roundTrip is the median of some round trips, in nanoseconds, after some that do not count.
func (r *rig) roundTrip() []float64 {
	var nanoseconds float64
	for _, trips := range []int{20, 100} {
		fmt.Fprintln(r.ping.orders, trips)
		if !r.ping.answers.Scan() {
			r.Fatalf("ping ended: %v", r.ping.answers.Err())
		}
		var err error
		nanoseconds, err = strconv.ParseFloat(r.ping.answers.Text(), 64)
		r.check(err)
	}
	return []float64{nanoseconds}
}
