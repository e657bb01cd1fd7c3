package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestOracleTraceTellsTheTruth sends packets of drawn cases through the datapath, and wants to leave the switch what
// ofproto/trace says. The oracle asks only that.
func TestOracleTraceTellsTheTruth(t *testing.T) {
	s := newOracleSwitch(t)
	s.captures = filepath.Join(s.lab.Dir, "left") // also seen from within another system
	setFlag(t, "rapid.checks", "6")
	setFlag(t, "rapid.shrinktime", "10s")
	sent, left := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		c := drawCase(rt)
		if _, n := s.compare(c, nil); n == 0 {
			return // refused
		}
		// What there is to learn was learnt, so that the same is done with a packet each time.
		for i := range c.Packets {
			p := &c.Packets[i]
			trace, err := s.send(p.In, p.frame())
			if err != nil {
				rt.Fatal(err)
			}
			// Flows that were made before the switch learnt as much would do otherwise.
			if _, err := s.ask("revalidator/purge"); err != nil {
				rt.Fatal(err)
			}
			got, err := s.inject(p.In, p.frame(), len(trace.frames))
			if err != nil {
				rt.Fatal(err)
			}
			want := trace.frames
			sent, left = sent+1, left+len(want)
			for _, frames := range [][]oracleFrame{got, want} {
				slices.SortFunc(frames, func(a, b oracleFrame) int {
					return strings.Compare(a.to+string(a.frame), b.to+string(b.frame))
				})
			}
			if !slices.EqualFunc(got, want, func(a, b oracleFrame) bool { return a.to == b.to && bytes.Equal(a.frame, b.frame) }) {
				rt.Fatalf("%s\npacket %d\n%s\nthe trace says %x\nand there leaves %x", c.text(), i, trace.text, want, got)
			}
		}
	})
	if left < sent/4 {
		t.Errorf("of %d packets %d frames left the switch", sent, left)
	}
	t.Logf("%d packets, of which %d frames left the switch", sent, left)
}

// inject has a frame arrive at a dummy device and returns what then leaves by all of them; it waits for so many frames, and
// for two rounds of ovs-vswitchd's main loop, in which dummy devices are served.
func (s *oracleSwitch) inject(in string, frame []byte, wait int) ([]oracleFrame, error) {
	if _, err := s.left(); err != nil { // what was before
		return nil, err
	}
	if _, err := s.ask("netdev-dummy/receive", in, hex.EncodeToString(frame)); err != nil {
		return nil, err
	}
	var out []oracleFrame
	for end, rounds := time.Now().Add(5*time.Second), 0; rounds < 2 || len(out) < wait && time.Now().Before(end); rounds++ {
		if _, err := s.ask("version"); err != nil {
			return nil, err
		}
		more, err := s.left()
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

// left is what has left by the devices since it was asked before: what is new in the files of their option tx_pcap.
func (s *oracleSwitch) left() ([]oracleFrame, error) {
	files, err := filepath.Glob(filepath.Join(s.captures, "*.pcap"))
	if err != nil {
		return nil, err
	}
	var out []oracleFrame
	for _, file := range files {
		device := strings.TrimSuffix(filepath.Base(file), ".pcap")
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		const fileHeader, header = 24, 16
		at := max(s.read[device], fileHeader)
		for at+header <= len(data) {
			length := int(binary.LittleEndian.Uint32(data[at+8:]))
			if at+header+length > len(data) {
				break // it is being written
			}
			out = append(out, oracleFrame{device, data[at+header : at+header+length]})
			at += header + length
		}
		if at > len(data) && len(data) > 0 {
			return nil, fmt.Errorf("%s is shorter than it was", file)
		}
		s.read[device] = at
	}
	return out, nil
}
