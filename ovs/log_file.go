package ovs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// OpenLog opens a database's file to read its history. Of a remote it is the file that
// the server of its socket, which must be on this host, has open; of the default remote,
// if the server cannot be asked, the one where OVS's own tools have it. Its error is
// ErrNoLog, ErrPermission or ErrUnreachable.
func OpenLog(remote string) (log *os.File, name string, err error) {
	socket := ""
	for text := range strings.SplitSeq(remote, ",") {
		if path, ok := strings.CutPrefix(text, "unix:"); ok && socket == "" {
			socket = path
		}
	}
	if socket == "" {
		return nil, "", fmt.Errorf("%w: it is in the file of the database, on the host of %s; run spanctl history there, or name a copy with --file", ErrNoLog, remote)
	}
	log, name, err = openLogOf(remote, socket)
	if err == nil || remote != DefaultRemote() {
		return log, name, err
	}
	for _, name := range usualFiles() {
		if log, other := OpenLogFile(name); other == nil {
			return log, name, nil
		} else if !errors.Is(other, fs.ErrNotExist) {
			err = errors.Join(err, other)
		}
	}
	return nil, "", err
}

// OpenLogFile opens a database's file by its name.
func OpenLogFile(name string) (*os.File, error) {
	info, err := os.Stat(name) // to open what is no file may take forever
	var log *os.File
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: %s is no file", ErrNoLog, name)
	} else if err == nil {
		log, err = os.Open(name)
	}
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: %w; run as root, or as the user of ovsdb-server", ErrPermission, err)
	}
	return log, err
}

// usualFiles are where OVS's own tools have the database (ovs_dbdir, lib/dirs.c), and
// where Debian's /etc/openvswitch/conf.db leads.
func usualFiles() []string {
	const name = "conf.db"
	if dir := os.Getenv("OVS_DBDIR"); dir != "" {
		return []string{filepath.Join(dir, name)}
	}
	if dir := os.Getenv("OVS_SYSCONFDIR"); dir != "" {
		return []string{filepath.Join(dir, "openvswitch", name)}
	}
	return []string{filepath.Join("/etc/openvswitch", name), filepath.Join("/var/lib/openvswitch", name)}
}

// openLogOf opens the file of the Open_vSwitch database of the server that listens at
// the socket, through proc(5): it may have a root directory of its own.
func openLogOf(remote, socket string) (*os.File, string, error) {
	pid, err := listener(socket)
	if err != nil {
		return nil, "", unreachable(remote, err)
	}
	if pid == 0 {
		return nil, "", fmt.Errorf("%w: the server of %s is in another PID namespace; name its file with --file", ErrNoLog, remote)
	}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil, "", fmt.Errorf("%w: which file the server has open: %w; run as root, or as the user of ovsdb-server, or name the file with --file", ErrPermission, err)
	} else if err != nil {
		return nil, "", unreachable(remote, err)
	}
	for _, entry := range entries {
		link := filepath.Join(dir, entry.Name())
		name, err := os.Readlink(link)
		// While the server compacts it writes FILE.tmp.
		if err != nil || !filepath.IsAbs(name) || strings.HasSuffix(name, ".tmp") || strings.HasSuffix(name, " (deleted)") {
			continue
		}
		log, err := OpenLogFile(link)
		if errors.Is(err, ErrPermission) {
			return nil, "", fmt.Errorf("%s: %w", name, err)
		} else if err != nil {
			continue
		}
		_, err = newLogReader(bufio.NewReader(log))
		if _, failed := log.Seek(0, io.SeekStart); err == nil && failed == nil {
			return log, name, nil
		}
		_ = log.Close() // it was only read
		if errors.Is(err, errClustered) {
			return nil, "", fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil, "", fmt.Errorf("%w: the server of %s has no file of %s open; name it with --file", ErrNoLog, remote, DatabaseName)
}

// listener is the process that listens at a socket, 0 if it is not of this PID
// namespace (SO_PEERCRED, unix(7)).
func listener(socket string) (pid int32, err error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var credentials *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		credentials, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, failed); err != nil {
		return 0, err
	}
	return credentials.Pid, nil
}
