package ovs_test

import (
	"encoding/json"
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"spanctl/ovs/ovstest"
)

// What a proxy does with a client's request.
const (
	pass      = iota // hands it on
	cut              // closes the connection instead
	cutAfter         // hands it on, and closes the connection before the answer
	swallow          // hands nothing on and answers nothing, from now on
	swallowed        // hands it on, and no answer, from now on
)

// A proxy stands between a client and the lab's server, and does with each
// request (RFC 7047 section 4.1) what the test says.
type proxy struct {
	Remote string

	listener net.Listener
	server   string
	fate     func(method string) int
	silent   func() // called when a request or an answer has been swallowed
	mu       sync.Mutex
	open     []net.Conn
	running  sync.WaitGroup
}

// interpose starts a proxy that ends with the test.
func interpose(t *testing.T, lab *ovstest.Lab, silent func(), fate func(method string) int) *proxy {
	t.Helper()
	path := filepath.Join(lab.Dir, "proxy.sock")
	listener, err := net.Listen("unix", path)
	check(t, err)
	p := &proxy{Remote: "unix:" + path, listener: listener, server: filepath.Join(lab.Dir, "db.sock"), fate: fate, silent: silent}
	p.running.Go(p.serve)
	t.Cleanup(func() {
		_ = listener.Close()
		p.Cut()
		p.running.Wait()
	})
	return p
}

// Cut closes every connection.
func (p *proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		_ = c.Close()
	}
	p.open = nil
}

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.open = append(p.open, client, server)
		p.mu.Unlock()
		answer := new(atomic.Int32) // what becomes of answers
		p.running.Go(func() { p.requests(client, server, answer) })
		p.running.Go(func() { p.answers(client, server, answer) })
	}
}

func (p *proxy) requests(client, server net.Conn, answer *atomic.Int32) {
	defer server.Close()
	decoder := json.NewDecoder(client)
	for {
		var request json.RawMessage
		if decoder.Decode(&request) != nil {
			return
		}
		var head struct{ Method string }
		_ = json.Unmarshal(request, &head) // answers to echo have none
		switch fate := p.fate(head.Method); fate {
		case cut:
			_ = client.Close()
			return
		case swallow:
			p.silent()
			_, _ = io.Copy(io.Discard, client)
			return
		default:
			answer.Store(int32(fate))
		}
		if _, err := server.Write(request); err != nil {
			return
		}
	}
}

// answers hands the server's messages on. The server has carried a request out
// when it answers.
func (p *proxy) answers(client, server net.Conn, answer *atomic.Int32) {
	buffer := make([]byte, 1<<16)
	for {
		n, err := server.Read(buffer)
		fate := answer.Load()
		if err != nil || fate == cutAfter {
			_ = client.Close()
			return
		}
		if fate == swallowed {
			p.silent()
			continue
		}
		if _, err := client.Write(buffer[:n]); err != nil {
			return
		}
	}
}
