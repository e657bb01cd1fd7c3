package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"spanctl/ovs/ovstest"
)

// An oracleSwitch is a real ovs-vswitchd with dummy devices, which is wiped for each case and not started anew. What it
// does with a packet is asked by ofproto/trace, over its control socket (ovs-appctl(8) speaks JSON-RPC 1.0): the packet is
// translated as one that arrives is, with all that it makes the switch learn, and the answer is the datapath's actions.
type oracleSwitch struct {
	ctx  context.Context
	lab  *ovstest.Lab
	file string // the policy
	conn net.Conn
	json *json.Decoder

	ofport map[string]string // of Interfaces
	bridge map[string]string // where an Interface is now
	device map[int]string    // Interface, by the datapath's port number
	// reserved are the ports to which copies go and nothing else: on a bridge of spanctl's own, or some mirror's output.
	reserved map[string]bool
	mirrored map[string]bool // ports that are some mirror's output, and
	filtered map[string]bool // of a mirror with a filter

	captures string         // the folder of what leaves by each device; empty: that is not written
	read     map[string]int // how much of it, by device, was read
}

// newOracleSwitch starts one that ends with the test.
func newOracleSwitch(t *testing.T) *oracleSwitch {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background()) // t.Context ends before clean-up, in which cases are reduced
	t.Cleanup(cancel)
	lab, err := ovstest.Start(ctx, ovstest.Config{Name: t.Name(), Dummy: true, Bridges: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("OVS_RUNDIR", lab.Dir) // where spanctl finds the control sockets
	s := &oracleSwitch{ctx: ctx, lab: lab, file: filepath.Join(t.TempDir(), "policy.yaml")}
	pid, err := os.ReadFile(filepath.Join(lab.Dir, "ovs-vswitchd.pid"))
	if err != nil {
		t.Fatal(err)
	}
	s.conn, err = net.Dial("unix", filepath.Join(lab.Dir, "ovs-vswitchd."+strings.TrimSpace(string(pid))+".ctl"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.conn.Close() })
	s.json = json.NewDecoder(s.conn)
	return s
}

// ask has ovs-vswitchd run a command and returns what it says.
func (s *oracleSwitch) ask(command string, args ...string) (string, error) {
	request, err := json.Marshal(map[string]any{"id": 0, "method": command, "params": append([]string{}, args...)})
	if err != nil {
		return "", err
	}
	if err := s.conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return "", err
	}
	if _, err := s.conn.Write(request); err != nil {
		return "", fmt.Errorf("%s: %w", command, err)
	}
	var reply struct{ Result, Error *string }
	if err := s.json.Decode(&reply); err != nil {
		return "", fmt.Errorf("%s: %w", command, err)
	}
	if reply.Error != nil || reply.Result == nil {
		return "", fmt.Errorf("%s %s: ovs-vswitchd says %s", command, strings.Join(args, " "), yamlOf(reply.Error))
	}
	return *reply.Result, nil
}

// build makes the switch the case's, with nothing left of another.
func (s *oracleSwitch) build(c *oracleCase) error {
	list, err := s.lab.VSCtl(s.ctx, "list-br")
	if err != nil {
		return err
	}
	args := []string{"--", "clear", "Open_vSwitch", ".", "external_ids"}
	for name := range strings.FieldsSeq(list) {
		args = append(args, "--", "del-br", name)
	}
	if _, err := s.lab.VSCtl(s.ctx, args...); err != nil {
		return err
	}
	args = nil
	for i := range c.Bridges {
		args = append(args, "--", "add-br", c.Bridges[i].Name, "--", "set", "Bridge", c.Bridges[i].Name, "datapath_type=dummy")
	}
	number := 0
	for i := range c.Bridges {
		for j := range c.Bridges[i].Ports {
			p := &c.Bridges[i].Ports[j]
			if p.Name != c.Bridges[i].Name {
				if len(p.Members) > 0 {
					args = append(append(args, "--", "add-bond", c.Bridges[i].Name, p.Name), p.Members...)
				} else {
					args = append(args, "--", "add-port", c.Bridges[i].Name, p.Name)
				}
				for _, iface := range p.interfaces() {
					number++
					args = append(args, "--", "set", "Interface", iface, "type=dummy", "ofport_request="+strconv.Itoa(number))
				}
			}
			args = append(args, p.columns()...)
		}
	}
	if s.captures != "" {
		more, err := s.capture(c)
		if err != nil {
			return err
		}
		args = append(args, more...)
	}
	for _, pair := range c.Patches {
		for i, bridge := range pair {
			end, peer := bridge+"-"+pair[1-i], pair[1-i]+"-"+bridge
			args = append(args, "--", "add-port", bridge, end, "--", "set", "Interface", end, "type=patch", "options:peer="+peer)
		}
	}
	if _, err := s.lab.VSCtl(s.ctx, args...); err != nil {
		return err
	}
	for _, m := range c.Foreign {
		if _, err := s.lab.VSCtl(s.ctx, m.rows()...); err != nil {
			return err
		}
	}
	return s.look(c)
}

// rows make the mirror, as arguments of ovs-vsctl.
func (m *oracleForeign) rows() []string {
	args := []string{"--", "--id=@output", "get", "Port", m.Output}
	selects := []string{"select_all=" + strconv.FormatBool(len(m.Src) == 0)}
	if len(m.Src) > 0 {
		var ports []string
		for i, port := range m.Src {
			ports = append(ports, fmt.Sprintf("@port%d", i))
			args = append(args, "--", fmt.Sprintf("--id=@port%d", i), "get", "Port", port)
		}
		selects = append(selects, "select_src_port="+strings.Join(ports, ","))
	}
	args = append(args, "--", "--id=@mirror", "create", "Mirror", "name=theirs", "output_port=@output")
	return append(append(args, selects...), "--", "add", "Bridge", m.Bridge, "mirrors", "@mirror")
}

// capture makes what leaves by each device be written, into files that are new.
func (s *oracleSwitch) capture(c *oracleCase) (args []string, err error) {
	if err := os.RemoveAll(s.captures); err != nil {
		return nil, err
	}
	s.read = map[string]int{}
	for i := range c.Bridges {
		names := []string{c.Bridges[i].Name}
		for j := range c.Bridges[i].Ports {
			names = append(names, c.Bridges[i].Ports[j].interfaces()...)
		}
		for _, name := range names {
			args = append(args, "--", "set", "Interface", name, "options:tx_pcap="+filepath.Join(s.captures, name+".pcap"))
		}
	}
	return args, os.Mkdir(s.captures, 0o700)
}

// columns are what the port's rows have, as arguments of ovs-vsctl.
func (p *oraclePort) columns() []string {
	args := []string{"--", "set", "Port", p.Name, "trunks=" + p.Trunks.columns()}
	if p.Mode != "" {
		args = append(args, "vlan_mode="+p.Mode)
	}
	if p.Tag != 0 {
		args = append(args, "tag="+strconv.Itoa(int(p.Tag)))
	}
	for key, value := range p.PortIDs {
		args = append(args, fmt.Sprintf("external_ids:%s=%q", key, value))
	}
	for _, iface := range p.interfaces() {
		for key, value := range p.IDs {
			args = append(args, "--", "set", "Interface", iface, fmt.Sprintf("external_ids:%s=%q", key, value))
		}
	}
	return args
}

// columns is the set as ovs-vsctl takes it.
func (r oracleRanges) columns() string {
	var list []string
	for _, one := range r {
		for n := int(one[0]); n <= int(one[1]); n++ {
			list = append(list, strconv.Itoa(n))
		}
	}
	return "[" + strings.Join(list, ",") + "]"
}

// apply has spanctl put the case's policy in force, after what was in force before, and returns its exit code and what it
// says.
func (s *oracleSwitch) apply(c *oracleCase) (int, string, error) {
	code, out := 0, strings.Builder{}
	for _, sessions := range []map[string]oracleSession{c.Before, c.Sessions} {
		if sessions == nil {
			continue
		}
		if err := os.WriteFile(s.file, []byte(policyOf(sessions)), 0o600); err != nil {
			return 0, "", err
		}
		if code = run([]string{"apply", "-f", s.file, "--prune", "--db", s.lab.DB}, strings.NewReader(""), &out, &out); code != exitOK && code != exitDegraded {
			break
		}
	}
	return code, out.String(), s.look(c)
}

// shown is a line of dpif/show: Interface, OpenFlow port and the datapath's port.
var shown = regexp.MustCompile(`^    (\S+) (\d+)/(\d+|none): `)

// look learns the numbers of the ports, which bridges they are on, and which are reserved.
func (s *oracleSwitch) look(c *oracleCase) error {
	text, err := s.ask("dpif/show")
	if err != nil {
		return err
	}
	s.ofport, s.bridge, s.device = map[string]string{}, map[string]string{}, map[int]string{}
	s.reserved, s.mirrored, s.filtered = map[string]bool{}, map[string]bool{}, map[string]bool{}
	bridge := ""
	for line := range strings.Lines(text) {
		if found := shown.FindStringSubmatch(line); found != nil {
			s.ofport[found[1]], s.bridge[found[1]] = found[2], bridge
			if number, err := strconv.Atoi(found[3]); err == nil {
				s.device[number] = found[1]
			}
			if !slices.ContainsFunc(c.Bridges, func(b oracleBridge) bool { return b.Name == bridge }) {
				s.reserved[found[1]] = true
			}
		} else if name, ok := strings.CutSuffix(strings.TrimSpace(line), ":"); ok {
			bridge = name
		}
	}
	for i := range c.Bridges {
		for j := range c.Bridges[i].Ports {
			for _, iface := range c.Bridges[i].Ports[j].interfaces() {
				if s.ofport[iface] == "" {
					return fmt.Errorf("interface %s is not there:\n%s", iface, text)
				}
			}
		}
	}
	out, err := s.lab.VSCtl(s.ctx, "--", "--columns=_uuid,name", "list", "Port", "--", "list", "Mirror")
	if err != nil {
		return err
	}
	names := map[string]string{}
	for record := range strings.SplitSeq(out, "\n\n") {
		columns := map[string]string{}
		for line := range strings.Lines(record) {
			key, value, _ := strings.Cut(line, ":")
			columns[strings.TrimSpace(key)] = strings.Trim(strings.TrimSpace(value), `"`)
		}
		output, isMirror := columns["output_port"]
		if !isMirror {
			names[columns["_uuid"]] = columns["name"]
		} else if port := names[output]; port != "" {
			s.reserved[port], s.mirrored[port] = true, true
			s.filtered[port] = s.filtered[port] || columns["filter"] != "" && columns["filter"] != "[]"
		}
	}
	return nil
}

// An oracleFrame is a frame that leaves the switch by an Interface.
type oracleFrame struct {
	to    string
	frame []byte
}

// An oracleTrace is what the switch does with a packet.
type oracleTrace struct {
	text string
	// frames leave, in this order; without each of the meters' packets, metered leave.
	frames  []oracleFrame
	metered [][]oracleFrame
}

// send is what comes of a frame that arrives at an Interface.
func (s *oracleSwitch) send(in string, frame []byte) (*oracleTrace, error) {
	text, err := s.ask("ofproto/trace", s.bridge[in], "in_port="+s.ofport[in], hex.EncodeToString(frame))
	if err != nil {
		return nil, err
	}
	_, actions, found := strings.Cut(text, "Datapath actions: ")
	actions, rest, _ := strings.Cut(actions, "\n")
	if !found || strings.Contains(rest, "Datapath actions: ") {
		return nil, fmt.Errorf("the trace has not one list of actions:\n%s", text)
	}
	t := &oracleTrace{text: text}
	for _, drops := range append([]string{""}, metersIn(actions)...) {
		outputs, err := carryOutActions(actions, frame, drops)
		if err != nil {
			return nil, fmt.Errorf("%w:\n%s", err, text)
		}
		frames := make([]oracleFrame, len(outputs))
		for i, one := range outputs {
			if frames[i] = (oracleFrame{s.device[one.port], one.frame}); frames[i].to == "" {
				return nil, fmt.Errorf("there is no port %d:\n%s", one.port, text)
			}
		}
		if drops == "" {
			t.frames = frames
		} else {
			t.metered = append(t.metered, frames)
		}
	}
	return t, nil
}
