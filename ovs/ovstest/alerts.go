package ovstest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
)

// Alert is a packet that matched a rule of Suricata, as eve.json has it. The addresses and ports are the packet's own,
// those of a tunnel around it stand in Tunnel.
type Alert struct {
	EventType string // "alert"
	Signature string // the rule's msg
	ID        int    // the rule's sid
	Proto     string // "ICMP", "UDP", …
	SrcIP     netip.Addr
	SrcPort   uint16 // 0 if the protocol has none
	DestIP    netip.Addr
	DestPort  uint16
	Tunnel    *Tunnel // nil if the packet did not come by one
}

// Tunnel is the packet around the one that matched.
type Tunnel struct {
	SrcIP  netip.Addr `json:"src_ip"`
	DestIP netip.Addr `json:"dest_ip"`
	Proto  string     `json:"proto"`
	Depth  int        `json:"depth"` // how many tunnels the packet was in
}

// String is the alert on one line for people:
//
//	"ping seen" ICMP 10.9.0.1 > 10.9.0.2 in a tunnel 192.0.2.1 > 192.0.2.5
func (a Alert) String() string {
	said := fmt.Sprintf("%q %s %s > %s", a.Signature, a.Proto, a.SrcIP, a.DestIP)
	if a.Tunnel != nil {
		said += fmt.Sprintf(" in a tunnel %s > %s", a.Tunnel.SrcIP, a.Tunnel.DestIP)
	}
	return said
}

func parseAlert(line []byte) (Alert, error) {
	var event struct {
		EventType string     `json:"event_type"`
		Proto     string     `json:"proto"`
		SrcIP     netip.Addr `json:"src_ip"`
		SrcPort   uint16     `json:"src_port"`
		DestIP    netip.Addr `json:"dest_ip"`
		DestPort  uint16     `json:"dest_port"`
		Rule      struct {
			Signature string `json:"signature"`
			ID        int    `json:"signature_id"`
		} `json:"alert"`
		Tunnel *Tunnel `json:"tunnel"`
	}
	if err := json.Unmarshal(line, &event); err != nil {
		return Alert{}, fmt.Errorf("%q: %w", line, err)
	}
	return Alert{
		EventType: event.EventType, Signature: event.Rule.Signature, ID: event.Rule.ID, Proto: event.Proto,
		SrcIP: event.SrcIP, SrcPort: event.SrcPort, DestIP: event.DestIP, DestPort: event.DestPort, Tunnel: event.Tunnel,
	}, nil
}

// Alerts is what was raised so far, in order, also after Close and until the lab is closed. The slice is not to
// be changed.
func (s *Suricata) Alerts() ([]Alert, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.read(); err != nil {
		return nil, fmt.Errorf("alerts of suricata at %s: %w", s.guest.cfg.Name, err)
	}
	return s.alerts[:len(s.alerts):len(s.alerts)], nil
}

// read takes in the lines of eve.json that have become whole since the last time.
func (s *Suricata) read() error {
	file, err := os.Open(s.path("eve.json"))
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Seek(s.offset, io.SeekStart); err != nil {
		return err
	}
	for lines := bufio.NewReader(file); ; {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		alert, err := parseAlert(line)
		if err != nil {
			return err
		}
		s.offset += int64(len(line))
		s.alerts = append(s.alerts, alert)
	}
}

// WaitAlert returns the first alert, of all that were raised so far and will be, that match says yes to (nil: any). It
// is an error, with the last alerts in words, when ctx ends first (20 s if it has no deadline) or Suricata does.
func (s *Suricata) WaitAlert(ctx context.Context, match func(Alert) bool) (Alert, error) {
	var found Alert
	asked := 0
	err := until(ctx, "an alert", func() (bool, error) {
		ended := s.running() // asked first: what it wrote before its end is read below
		alerts, err := s.Alerts()
		if err != nil {
			return false, err
		}
		for ; asked < len(alerts); asked++ {
			if found = alerts[asked]; match == nil || match(found) {
				return true, nil
			}
		}
		return false, ended
	})
	if err != nil {
		return Alert{}, fmt.Errorf("suricata at %s: %w; %s", s.guest.cfg.Name, err, s.recent())
	}
	return found, nil
}

// recent is the last few alerts, for an error message.
func (s *Suricata) recent() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.alerts) == 0 {
		return "no alerts were raised"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d alerts were raised, the last:", len(s.alerts))
	for _, a := range s.alerts[max(0, len(s.alerts)-5):] {
		b.WriteString("\n\t" + a.String())
	}
	return b.String()
}
