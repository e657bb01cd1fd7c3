package ovstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// InsideVM is all that runs in a virtual machine. It never returns: when it fails, the machine ends, and its console says
// why.
func InsideVM() {
	err := inside()
	fmt.Fprintln(os.Stderr, "vminit:", err) // the console
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART) // QEMU ends: -no-reboot
	select {}
}

func inside() error {
	for _, m := range []string{"devtmpfs:/dev", "proc:/proc", "sysfs:/sys"} {
		kind, where, _ := strings.Cut(m, ":")
		if err := unix.Mount(kind, where, kind, 0, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", where, err)
		}
	}
	if err := loadModules(); err != nil {
		return err
	}
	return obey(false)
}

// obey does what the test asks for, and may tell it first that a whole system has come up. It returns when it cannot.
func obey(system bool) error {
	// The first port of the only virtio-serial device, which the kernel finds a little later. It is called for the device's
	// place among all of virtio (add_port of Linux's virtio_console.c).
	var line *os.File
	err := until(context.Background(), "the line to the test", func() (ok bool, err error) {
		found, err := filepath.Glob("/dev/vport*p1")
		if err != nil || len(found) == 0 {
			return false, err
		}
		line, err = os.OpenFile(found[0], os.O_RDWR, 0)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENXIO) { // made, and not ready
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return err
	}
	v := &insideVM{out: json.NewEncoder(line), captures: map[int]*socket{}, senders: map[int]*socket{}, streams: map[string]*stream{}}
	if system {
		v.write(vmMessage{Booted: true})
	}
	for decoder := json.NewDecoder(patient{line}); ; {
		var r vmRequest
		if err := decoder.Decode(&r); err != nil {
			return fmt.Errorf("reading a request: %w", err)
		}
		v.do(r)
	}
}

// patient reads what comes, also where the kernel says that it is the end: until it has heard of the other side that
// somebody is there (port_fops_read of Linux's virtio_console.c).
type patient struct{ *os.File }

func (p patient) Read(b []byte) (n int, err error) {
	err = until(context.Background(), "the other side of the line", func() (bool, error) {
		n, err = p.File.Read(b)
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		return err == nil, err
	})
	return n, err
}

// loadModules loads those of the image in the order of their names.
func loadModules() error {
	modules, err := filepath.Glob("/modules/*")
	if err != nil {
		return err
	}
	slices.Sort(modules)
	for _, name := range modules {
		module, err := os.ReadFile(name)
		if err == nil {
			err = unix.InitModule(module, "")
		}
		if err != nil {
			return fmt.Errorf("loading %s: %w", name, err)
		}
	}
	return nil
}

// hushVM is hush, and what a whole machine needs more of it.
func hushVM() error { return errors.Join(sysctl("net/ipv4/icmp_msgs_per_sec", "0"), hush()) }

// insideVM does what is asked of a machine.
type insideVM struct {
	writing sync.Mutex
	out     *json.Encoder

	mu       sync.Mutex
	captures map[int]*socket
	senders  map[int]*socket    // by the index of their devices
	streams  map[string]*stream // by the address of theirs
	dumping  *dump
}

// vmVerbs are what can be asked for. They are done one after the other, but for those that take their time.
var vmVerbs = map[string]func(*insideVM, vmRequest) (int, error){
	"up":      (*insideVM).up,
	"send":    (*insideVM).send,
	"capture": (*insideVM).capture,
	"stream":  (*insideVM).stream,
	"still":   (*insideVM).still,
	"dump":    (*insideVM).dump,
	"dumped":  (*insideVM).dumped,
	"dropped": (*insideVM).dropped,
	"release": (*insideVM).release,
	"serve":   (*insideVM).serve,
	"fetch":   (*insideVM).fetch,
	"run":     (*insideVM).run,
}

func (v *insideVM) do(r vmRequest) {
	verb := vmVerbs[r.Do]
	switch r.Do {
	case "fetch", "still", "dumped", "run":
		go v.reply(r, verb)
	default:
		v.reply(r, verb)
	}
}

func (v *insideVM) reply(r vmRequest, verb func(*insideVM, vmRequest) (int, error)) {
	m := vmMessage{ID: r.ID}
	var err error
	if verb == nil {
		err = errors.New("not known here")
	} else {
		m.Number, err = verb(v, r)
	}
	if err != nil {
		m.Error = err.Error()
	}
	v.write(m)
}

// write writes to the line. What cannot be told ends the machine.
func (v *insideVM) write(m vmMessage) {
	v.writing.Lock()
	defer v.writing.Unlock()
	if err := v.out.Encode(m); err != nil {
		panic(err)
	}
}

// up waits for the device, addresses it and brings it up, without offloads.
func (v *insideVM) up(r vmRequest) (int, error) {
	ip, err := netip.ParsePrefix(r.IP)
	if err != nil {
		return 0, err
	}
	name, err := await(r.MAC)
	if err == nil {
		err = raiseLink(name)
	}
	if err == nil {
		err = address(name, ip)
	}
	return 0, err
}

// await returns when the device of that address is there, and its name. The machine is silent from then on. One that is
// plugged in comes some time later.
func await(mac string) (name string, err error) {
	err = until(context.Background(), "a device "+mac, func() (bool, error) {
		d, err := deviceOf(mac)
		if d != nil {
			name = d.Name
		}
		return d != nil, err
	})
	if err != nil {
		return "", err
	}
	// Neighbours are asked for once, and never again whether they are still there.
	return name, errors.Join(
		hushVM(),
		sysctl("net/ipv4/neigh/"+name+"/base_reachable_time_ms", "86400000"),
		sysctl("net/ipv4/neigh/"+name+"/delay_first_probe_time", "86400"),
	)
}

// deviceOf is the device of that address, nil if there is none.
func deviceOf(mac string) (*net.Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].HardwareAddr.String() == mac {
			return &all[i], nil
		}
	}
	return nil, nil
}

// mustHave is deviceOf where it has to be there.
func mustHave(mac string) (*net.Interface, error) {
	d, err := deviceOf(mac)
	if err == nil && d == nil {
		err = fmt.Errorf("no device %s", mac)
	}
	return d, err
}

func (v *insideVM) send(r vmRequest) (int, error) {
	d, err := mustHave(r.MAC)
	if err != nil {
		return 0, err
	}
	s := v.senders[d.Index]
	if s == nil {
		if s, err = openSocket(d.Name, false, false); err != nil {
			return 0, err
		}
		v.senders[d.Index] = s
	}
	_, err = s.Write(r.Frame)
	return 0, err
}

func (v *insideVM) capture(r vmRequest) (int, error) {
	d, err := mustHave(r.MAC)
	if err != nil {
		return 0, err
	}
	s, err := openSocket(d.Name, true, r.Outgoing)
	if err != nil {
		return 0, err
	}
	if err := s.promiscuous(); err != nil {
		return 0, errors.Join(err, s.Close())
	}
	v.mu.Lock()
	v.captures[r.ID] = s
	v.mu.Unlock()
	go func() {
		for buf := make([]byte, 1<<16); ; {
			frame, outgoing, err := s.receive(buf)
			if err != nil && v.released(r.ID) {
				return
			}
			if err != nil {
				panic(err) // nothing takes a device away or down that is captured at
			}
			v.write(vmMessage{ID: r.ID, Frame: frame, Outgoing: outgoing})
		}
	}()
	return 0, nil
}

func (v *insideVM) dropped(r vmRequest) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.captures[r.Capture]
	if s == nil {
		return 0, ErrClosed
	}
	return s.dropped()
}

func (v *insideVM) release(r vmRequest) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.captures[r.Capture]
	if s == nil {
		return 0, ErrClosed
	}
	delete(v.captures, r.Capture)
	return 0, s.Close()
}

func (v *insideVM) released(id int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.captures[id] == nil
}

func (v *insideVM) serve(r vmRequest) (int, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	listener, err := config.Listen(context.Background(), "tcp4", r.IP)
	if err != nil {
		return 0, err
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				panic(err) // it is never closed
			}
			_, err = io.Copy(io.Discard, conn)
			if err == nil {
				_, err = conn.Write(make([]byte, r.Bytes))
			}
			if err = errors.Join(err, conn.Close()); err != nil {
				fmt.Fprintln(os.Stderr, "vminit: serving:", err) // the client has noticed
			}
		}
	}()
	return 0, nil
}

func (v *insideVM) fetch(r vmRequest) (int, error) {
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	conn, err := dialer.Dial("tcp4", r.IP)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if _, err := conn.Write(make([]byte, r.Bytes)); err != nil {
		return 0, err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, conn)
	return int(n), err
}
