package openflow

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"spanctl/policy/plan"
)

// An actionReader reads datapath actions, as odp-util's format_odp_actions writes
// them: numbers are ports to send to, the rest changes what is sent next.
type actionReader struct {
	ports        datapath
	exits        []plan.Exit
	open         []string
	recirculated int
}

// A packetState is what the actions so far have made of the packet.
type packetState struct {
	tags    []uint16
	limit   int  // of the next output
	metered bool // what follows
	sampled bool
	tunnel  *encapsulation
	cloned  bool
	carrier *plan.Exit // the tunnel that the packet is in by now; its own way is not the copy's
}

// nested is the state in actions on a clone.
func (p *packetState) nested() *packetState {
	inner := *p
	inner.tags = slices.Clone(p.tags)
	p.limit = 0 // what was cut is that clone
	return &inner
}

// An encapsulation is a tunnel's header.
type encapsulation struct {
	remote, local netip.Addr
	key           uint64
}

func (r *actionReader) read(text string, p *packetState) {
	for _, action := range split(text) {
		name, args := action, ""
		if open := strings.IndexByte(action, '('); open >= 0 {
			name, args = action[:open], strings.TrimSuffix(action[open+1:], ")")
		}
		if number, err := strconv.ParseUint(name, 10, 32); err == nil {
			r.output(uint32(number), p)
			continue
		}
		switch name {
		case "trunc":
			p.limit, _ = strconv.Atoi(args)
		case "meter":
			p.metered = true
		case "push_vlan":
			p.tags = append([]uint16{uint16(number(vidField, args, 10))}, p.tags...)
		case "pop_vlan":
			if len(p.tags) > 0 {
				p.tags = p.tags[1:]
			}
		case "set":
			if strings.HasPrefix(args, "tunnel(") {
				p.tunnel = readKernelTunnel(args)
			}
		case "clone":
			inner := p.nested()
			inner.cloned = true
			r.read(args, inner)
			if carrier := inner.carrier; carrier != nil && p.carrier == nil {
				r.exits = append(r.exits, *carrier)
			}
		case "tnl_push":
			r.push(args, p)
		case "sample":
			if inner, ok := argument(args, "actions"); ok {
				state := p.nested()
				state.sampled = true
				r.read(inner, state)
			}
		case "check_pkt_len":
			for _, branch := range []string{"gt", "le"} {
				if inner, ok := argument(args, branch); ok {
					state := p.nested()
					state.sampled = true
					r.read(inner, state)
				}
			}
		case "recirc":
			r.recirculated++
		case "lb_output":
			r.open = append(r.open, "which member of a bond sends it")
		}
	}
}

// output is one copy, or the packet itself, that is sent to a port.
func (r *actionReader) output(number uint32, p *packetState) {
	limit := p.limit
	p.limit = 0
	port := r.ports.port(number, p.tunnel)
	if p.carrier != nil {
		p.carrier.By = append(p.carrier.By, port.name)
		return
	}
	exit := plan.Exit{Interface: port.name, Limit: limit, Tags: slices.Clone(p.tags), Metered: p.metered, Sampled: p.sampled}
	if port.tunnel && p.tunnel != nil {
		exit.Remote, exit.Key = p.tunnel.remote, p.tunnel.key
	}
	r.exits = append(r.exits, exit)
}

// push puts the packet into a tunnel's, in the userspace datapath. Within a
// clone what follows is the way of the tunnel's packet.
func (r *actionReader) push(args string, p *packetState) {
	header, _ := argument(args, "header")
	e := readHeader(header)
	number, _ := strconv.ParseUint(strings.Join(arguments(args, "tnl_port"), ""), 10, 32)
	limit := p.limit
	p.limit = 0
	if p.carrier != nil { // a tunnel's packet in a tunnel
		return
	}
	exit := plan.Exit{
		Interface: r.ports.port(uint32(number), e).name, Remote: e.remote, Key: e.key, Limit: limit,
		Tags: slices.Clone(p.tags), Metered: p.metered, Sampled: p.sampled,
	}
	if p.cloned {
		p.carrier = &exit
	} else {
		r.exits = append(r.exits, exit)
	}
}

var (
	vidField = regexp.MustCompile(`\bvid=(\d+)`)
	dstField = regexp.MustCompile(`\b(?:ipv6_)?dst=([0-9a-fA-F.:]+)`)
	srcField = regexp.MustCompile(`\b(?:ipv6_)?src=([0-9a-fA-F.:]+)`)
	// keyField is GRE's and ERSPAN's key, VXLAN's and Geneve's network.
	keyField = regexp.MustCompile(`\b(?:key|sid|vni|tun_id)=(0x[0-9a-fA-F]+|\d+)`)
)

// readHeader reads the header that tnl_push pushes: addresses are in ipv4(...) or
// ipv6(...), the key in what follows.
func readHeader(header string) *encapsulation {
	e := &encapsulation{key: number(keyField, header, 0)}
	for _, version := range []string{"ipv4", "ipv6"} {
		if ip, ok := argument(header, version); ok {
			e.remote, e.local = address(dstField, ip), address(srcField, ip)
		}
	}
	return e
}

// readKernelTunnel reads set(tunnel(...)), which says what the kernel's tunnel
// port that follows shall push.
func readKernelTunnel(args string) *encapsulation {
	return &encapsulation{remote: address(dstField, args), local: address(srcField, args), key: number(keyField, args, 0)}
}

func number(field *regexp.Regexp, text string, base int) uint64 {
	if found := field.FindStringSubmatch(text); found != nil {
		n, _ := strconv.ParseUint(found[1], base, 64)
		return n
	}
	return 0
}

func address(field *regexp.Regexp, text string) netip.Addr {
	if found := field.FindStringSubmatch(text); found != nil {
		if a, err := netip.ParseAddr(found[1]); err == nil {
			return a.Unmap()
		}
	}
	return netip.Addr{}
}

// split cuts a list at the commas that are in no brackets.
func split(text string) []string {
	var parts []string
	depth, from := 0, 0
	for i, c := range text {
		switch c {
		case '(', '{':
			depth++
		case ')', '}':
			depth--
		case ',':
			if depth == 0 {
				parts = append(parts, strings.TrimSpace(text[from:i]))
				from = i + 1
			}
		}
	}
	if rest := strings.TrimSpace(text[from:]); rest != "" {
		parts = append(parts, rest)
	}
	return parts
}

// argument is what is in the brackets of a name of the list.
func argument(list, name string) (string, bool) {
	found := arguments(list, name)
	return strings.Join(found, ""), len(found) > 0
}

func arguments(list, name string) []string {
	for _, part := range split(list) {
		if inner, ok := strings.CutPrefix(part, name+"("); ok {
			return []string{strings.TrimSuffix(inner, ")")}
		}
	}
	return nil
}

// A datapath is the ports of the daemon's datapaths.
type datapath []dpPort

// A dpPort is one port, by its number in the datapath. Kernel tunnels of one kind
// share a number.
type dpPort struct {
	name    string
	number  uint32
	tunnel  bool
	options map[string]string // as dpif/show prints them: those that are not the default
}

// portLine is a port in the words of dpif/show: NAME OFPORT/NUMBER: (TYPE: OPTIONS).
var portLine = regexp.MustCompile(`(?m)^ {4}(\S+) \d+/(\d+): \((\S+?)(?:: (.*))?\)$`)

// readPorts reads the ports that the datapath has; patch ports are in none.
func readPorts(text string) datapath {
	var ports datapath
	for _, found := range portLine.FindAllStringSubmatch(text, -1) {
		number, _ := strconv.ParseUint(found[2], 10, 32)
		port := dpPort{name: found[1], number: uint32(number), options: map[string]string{}}
		for option := range strings.SplitSeq(found[4], ", ") {
			if key, value, ok := strings.Cut(option, "="); ok {
				port.options[key] = value
			}
		}
		port.tunnel = port.options["remote_ip"] != ""
		ports = append(ports, port)
	}
	return ports
}

// port is the port of that number, of several tunnels the one that pushes the
// header.
func (d datapath) port(number uint32, header *encapsulation) dpPort {
	unnamed := dpPort{name: fmt.Sprintf("(port %d of the datapath)", number), number: number}
	best, bestScore := unnamed, -1
	for _, port := range d {
		if port.number != number {
			continue
		}
		score := 0
		if port.tunnel && header != nil {
			if score = port.fits(header); score < 0 {
				best.tunnel = true
				continue
			}
		}
		if score > bestScore {
			best, bestScore = port, score
		}
	}
	return best
}

// fits says how well a tunnel's options are those of a header, -1 if they are
// others.
func (p *dpPort) fits(header *encapsulation) int {
	score := 0
	for option, is := range map[string]netip.Addr{"remote_ip": header.remote, "local_ip": header.local} {
		want, err := netip.ParseAddr(p.options[option])
		switch {
		case err != nil: // not set, or by each packet's flow
		case want.Unmap() != is:
			return -1
		default:
			score++
		}
	}
	key := p.options["key"]
	if key == "" {
		key = p.options["out_key"]
	}
	if n, err := strconv.ParseUint(key, 0, 64); err == nil || key == "" {
		if n != header.key {
			return -1
		}
		score++
	}
	return score
}
