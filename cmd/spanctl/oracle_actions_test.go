package main

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A oracleOutput is a frame that leaves by a port of the datapath.
type oracleOutput struct {
	port  int
	frame []byte
}

// carryOutActions does what datapath actions say with a frame, as the datapath does it (dpif-netdev.c and odp-execute.c of
// OVS 3.1): trunc says how many bytes the next output is to leave off the packet's end, of the length that it has then. What
// a meter drops is not there for the actions that follow; one meter does so, empty for none, the others let everything pass.
func carryOutActions(actions string, frame []byte, drops string) ([]oracleOutput, error) {
	var out []oracleOutput
	cut := 0
	frame = slices.Clone(frame)
	for _, action := range splitActions(actions) {
		name, args, _ := strings.Cut(strings.TrimSuffix(action, ")"), "(")
		port, err := strconv.Atoi(action)
		switch {
		case err == nil:
			out = append(out, oracleOutput{port, slices.Clone(frame[:len(frame)-cut])})
			cut = 0
		case name == "drop":
		case name == "meter" && args == drops:
			return out, nil
		case name == "meter":
		case name == "trunc":
			n, err := strconv.Atoi(args)
			if err != nil {
				return nil, err
			}
			cut = max(0, len(frame)-n)
		case name == "pop_vlan":
			frame = slices.Delete(frame, 12, 16)
		case name == "push_vlan":
			tag := oracleTag{}
			for arg := range strings.SplitSeq(args, ",") {
				key, value, _ := strings.Cut(arg, "=")
				n, err := strconv.ParseUint(value, 0, 16)
				if err != nil {
					return nil, err
				}
				switch key {
				case "tpid":
					tag.TPID = uint16(n)
				case "vid":
					tag.VID = uint16(n)
				case "pcp":
					tag.PCP = uint8(n)
				default:
					return nil, fmt.Errorf("%q in %q is not known here", key, action)
				}
			}
			frame = slices.Insert(frame, 12, tag.bytes()...)
		case name == "clone":
			inner, err := carryOutActions(args, frame, drops)
			if err != nil {
				return nil, err
			}
			out = append(out, inner...)
		default:
			return nil, fmt.Errorf("action %q is not known here", action)
		}
	}
	return out, nil
}

// metersIn are the meters that actions name.
func metersIn(actions string) []string {
	var list []string
	for _, found := range regexp.MustCompile(`meter\((\d+)\)`).FindAllStringSubmatch(actions, -1) {
		if !slices.Contains(list, found[1]) {
			list = append(list, found[1])
		}
	}
	return list
}

// splitActions splits a list at its commas, not at those within brackets.
func splitActions(actions string) []string {
	var list []string
	depth, start := 0, 0
	for i, c := range actions {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				list = append(list, actions[start:i])
				start = i + 1
			}
		}
	}
	return append(list, strings.TrimSpace(actions[start:]))
}

func TestOracleCarriesOutActions(t *testing.T) {
	p := oraclePacket{SrcMAC: "02:00:00:00:00:01", DstMAC: "02:00:00:00:00:02", Kind: "0x88b5"}
	plain := p.frame()
	p.Tags = []oracleTag{{VID: 10, PCP: 3}}
	tagged := p.frame()
	if tpid := binary.BigEndian.Uint16(tagged[12:]); tpid != 0x8100 || len(tagged) != len(plain)+4 {
		t.Fatalf("the tagged frame is %x", tagged)
	}
	for _, c := range []struct {
		actions, drops string
		frame          []byte
		want           []oracleOutput
	}{
		{"drop", "", plain, nil},
		{"1,22", "", plain, []oracleOutput{{1, plain}, {22, plain}}},
		{"trunc(14),1,2", "", plain, []oracleOutput{{1, plain[:14]}, {2, plain}}},
		{"trunc(61),1", "", plain, []oracleOutput{{1, plain}}},
		{"1,push_vlan(vid=10,pcp=3),2,pop_vlan,3", "", plain, []oracleOutput{{1, plain}, {2, tagged}, {3, plain}}},
		{"pop_vlan,1", "", tagged, []oracleOutput{{1, plain}}},
		{"meter(0),clone(trunc(60),pop_vlan,7),8", "", tagged, []oracleOutput{{7, plain[:56]}, {8, tagged}}},
		{"1,clone(meter(3),2),meter(4),5", "3", plain, []oracleOutput{{1, plain}, {5, plain}}},
		{"1,clone(meter(3),2),meter(4),5", "4", plain, []oracleOutput{{1, plain}, {2, plain}}},
	} {
		got, err := carryOutActions(c.actions, c.frame, c.drops)
		if err != nil || fmt.Sprintf("%x", got) != fmt.Sprintf("%x", c.want) {
			t.Errorf("%s: %x, %v; want %x", c.actions, got, err, c.want)
		}
	}
	for _, unknown := range []string{"recirc(0x1)", "push_vlan(vid=1,more=2)", "1,sample(sample=50.0%,actions(2))"} {
		if _, err := carryOutActions(unknown, plain, ""); err == nil {
			t.Errorf("%s is carried out", unknown)
		}
	}
}
