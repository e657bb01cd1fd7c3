package ovstest

import (
	"fmt"
)

// Sender is where frames go in: a Guest's or VM's eth0, or the host's own HostPort.
type Sender interface {
	Endpoint
	Send(frame []byte) error
}

// Send sends one frame out of the guest's eth0 as it is.
func (g *Guest) Send(frame []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sender == nil {
		s, err := g.lab.openSender(g.inside, device)
		if err != nil {
			return fmt.Errorf("guest %s: %w", g.cfg.Name, err)
		}
		g.sender = s
	}
	if _, err := g.sender.Write(frame); err != nil {
		return fmt.Errorf("guest %s: sending: %w", g.cfg.Name, err)
	}
	return nil
}

// SendPort sends one frame out of a device of the host: from the host into a bridge, by its internal port.
func (l *Lab) SendPort(device string, frame []byte) error {
	if err := l.realHost(); err != nil {
		return err
	}
	s, err := l.openSender(l.host, device)
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := s.Write(frame); err != nil {
		return fmt.Errorf("sending from %s: %w", device, err)
	}
	return nil
}

func (l *Lab) openSender(inside *namespace, device string) (s *socket, err error) {
	err = inside.do(func() error {
		s, err = openSocket(device, false, false)
		return err
	})
	return s, err
}
