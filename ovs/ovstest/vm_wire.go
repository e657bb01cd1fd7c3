package ovstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
)

// A test and vminit talk by lines of JSON over a virtio-serial port: requests that way, and replies and captured frames
// this way.
type (
	vmRequest struct {
		ID int    `json:"id"` // of its reply, and of the frames of a capture
		Do string `json:"do"` // a key of vmVerbs

		MAC      string `json:"mac,omitempty"` // of the device
		IP       string `json:"ip,omitempty"`  // of the device, with the length of its prefix; of a peer with the port
		Frame    []byte `json:"frame,omitempty"`
		Outgoing bool   `json:"outgoing,omitempty"`
		Capture  int    `json:"capture,omitempty"`
		Bytes    int    `json:"bytes,omitempty"`
		Frames   int    `json:"frames,omitempty"`

		Args []string `json:"args,omitempty"` // of a program
		Env  []string `json:"env,omitempty"`
	}
	vmMessage struct {
		ID       int    `json:"id"`
		Frame    []byte `json:"frame,omitempty"` // nil: it is the reply
		Outgoing bool   `json:"outgoing,omitempty"`
		Error    string `json:"error,omitempty"`
		Number   int    `json:"number,omitempty"`
		Booted   bool   `json:"booted,omitempty"` // it is no reply: a whole system has come up, told once
	}
)

// vmLine is the test's end of the line to a virtual machine. It is over with the machine.
type vmLine struct {
	name string

	writing sync.Mutex // not mu: who waits to write must not keep read from reading
	in      io.WriteCloser

	mu       sync.Mutex
	last     int
	replies  map[int]chan vmMessage
	captures map[int]*vmCapture
	ended    chan struct{} // closed when nothing more comes

	boot chan struct{} // has one when a whole system has come up
}

func newVMLine(name string, in io.WriteCloser, out io.ReadCloser) *vmLine {
	l := &vmLine{
		name: name, in: in, ended: make(chan struct{}), boot: make(chan struct{}, 1),
		replies: map[int]chan vmMessage{}, captures: map[int]*vmCapture{},
	}
	go l.read(out)
	return l
}

func (l *vmLine) read(out io.ReadCloser) {
	defer out.Close()
	for decoder := json.NewDecoder(out); ; {
		var m vmMessage
		err := decoder.Decode(&m)
		l.mu.Lock()
		if err != nil {
			close(l.ended)
			for _, c := range l.captures {
				c.end()
			}
			l.mu.Unlock()
			return
		}
		if m.Booted {
			l.boot <- struct{}{}
		} else if m.Frame != nil {
			if c := l.captures[m.ID]; c != nil { // it may be closed
				c.put(m)
			}
		} else if reply := l.replies[m.ID]; reply != nil {
			delete(l.replies, m.ID)
			reply <- m
		}
		l.mu.Unlock()
	}
}

// call does a request and returns the number of its reply.
func (l *vmLine) call(ctx context.Context, r vmRequest) (int, error) { return l.open(ctx, r, nil) }

// open is call, with what captures the frames that follow.
func (l *vmLine) open(ctx context.Context, r vmRequest, c *vmCapture) (int, error) {
	ctx, cancel := deadline(ctx)
	defer cancel()
	reply := make(chan vmMessage, 1)
	l.mu.Lock()
	l.last++
	r.ID = l.last
	l.replies[r.ID] = reply
	if c != nil {
		c.line, c.id = l, r.ID
		l.captures[r.ID] = c
	}
	l.mu.Unlock()
	l.writing.Lock()
	err := json.NewEncoder(l.in).Encode(r)
	l.writing.Unlock()
	if err != nil {
		return 0, fmt.Errorf("vm %s: %s: %w", l.name, r.Do, errors.Join(ErrClosed, err))
	}
	select {
	case m := <-reply:
		if m.Error != "" {
			return 0, fmt.Errorf("vm %s: %s: %s", l.name, r.Do, m.Error)
		}
		return m.Number, nil
	case <-l.ended:
		return 0, fmt.Errorf("vm %s: %s: %w", l.name, r.Do, ErrClosed)
	case <-ctx.Done():
		return 0, fmt.Errorf("vm %s: %s: %w", l.name, r.Do, context.Cause(ctx))
	}
}

// close ends the line from this side; that of a dead machine has ended already.
func (l *vmLine) close() error {
	<-l.ended
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.in.Close(); err != nil && !errors.Is(err, os.ErrClosed) && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("vm %s: %w", l.name, err)
	}
	return nil
}

// vmCapture is a packet socket inside of a virtual machine.
type vmCapture struct {
	line *vmLine
	id   int

	mu     sync.Mutex
	frames []vmMessage
	over   bool
	news   chan struct{} // has one when something has changed
}

func (c *vmCapture) put(m vmMessage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frames = append(c.frames, m)
	c.tell()
}

func (c *vmCapture) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	c.tell()
}

func (c *vmCapture) tell() {
	select {
	case c.news <- struct{}{}:
	default:
	}
}

func (c *vmCapture) receive([]byte) (data []byte, outgoing bool, err error) {
	for {
		c.mu.Lock()
		if len(c.frames) > 0 {
			m := c.frames[0]
			c.frames = c.frames[1:]
			c.mu.Unlock()
			return m.Frame, m.Outgoing, nil
		}
		over := c.over
		c.mu.Unlock()
		if over {
			return nil, false, fmt.Errorf("vm %s: %w", c.line.name, ErrClosed)
		}
		<-c.news
	}
}

// copy writes what is captured as text, until the capture ends and all of it is written.
func (c *vmCapture) copy(out io.Writer) error {
	for {
		data, _, err := c.receive(nil)
		if err != nil {
			return nil // it has ended, as its caller knows
		}
		if _, err := out.Write(data); err != nil {
			return err
		}
	}
}

// dropped is none when the machine is no more: that the capture is broken says its reader.
func (c *vmCapture) dropped() (int, error) {
	n, err := c.line.call(context.Background(), vmRequest{Do: "dropped", Capture: c.id})
	if errors.Is(err, ErrClosed) {
		return 0, nil
	}
	return n, err
}

func (c *vmCapture) Close() error {
	c.line.mu.Lock()
	delete(c.line.captures, c.id)
	c.line.mu.Unlock()
	c.end()
	_, err := c.line.call(context.Background(), vmRequest{Do: "release", Capture: c.id})
	return err
}
