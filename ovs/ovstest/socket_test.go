package ovstest

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLostFramesAreAnError(t *testing.T) {
	lab, err := Start(t.Context(), Config{Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	var guests [2]*Guest
	for i, name := range []string{"a", "b"} {
		if guests[i], err = lab.AddGuest(t.Context(), GuestConfig{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	a, b := guests[0], guests[1]
	c, err := b.Capture(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(int(c.source.(*socket).Fd()), unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil {
		t.Fatal(err)
	}
	burst := make([][]byte, 500)
	for i := range burst {
		burst[i] = UDP(a, b, 1, 2, make([]byte, 1400))
	}
	err = until(t.Context(), "a lost frame", func() (bool, error) {
		for _, frame := range burst {
			if err := a.Send(frame); err != nil {
				return false, err
			}
		}
		return errors.Is(c.Err(), ErrLost), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); !errors.Is(err, ErrLost) {
		t.Errorf("Close says %v", err)
	}
}
