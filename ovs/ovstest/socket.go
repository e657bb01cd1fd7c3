package ovstest

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// receiveBuffer is large enough that a reader that is late by some seconds loses nothing.
const receiveBuffer = 64 << 20

// socket is a packet(7) socket on one device. It stays in the namespace it was opened in.
type socket struct {
	*os.File
	device string
}

// openSocket opens a packet socket on a device of the current namespace. A receiving one has every frame from the
// moment this returns; a sending one has none.
func openSocket(device string, receive, outgoing bool) (*socket, error) {
	s, err := bindSocket(device, receive, outgoing)
	if err != nil {
		return nil, fmt.Errorf("opening packet socket on %s: %w", device, err)
	}
	return s, nil
}

func bindSocket(device string, receive, outgoing bool) (*socket, error) {
	link, err := net.InterfaceByName(device)
	if err != nil {
		return nil, err
	}
	// Protocol 0: nothing is received before bind has named the device.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	where := &unix.SockaddrLinklayer{Ifindex: link.Index}
	if receive {
		where.Protocol = binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL & 0xff})
		err = receiving(fd, outgoing)
	}
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, where))
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &socket{File: os.NewFile(uintptr(fd), "packet:"+device), device: device}, nil
}

func receiving(fd int, outgoing bool) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer); err != nil {
		return os.NewSyscallError("setsockopt SO_RCVBUFFORCE", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		return os.NewSyscallError("setsockopt PACKET_AUXDATA", err)
	}
	if outgoing {
		return nil
	}
	err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	return os.NewSyscallError("setsockopt PACKET_IGNORE_OUTGOING", err)
}

// promiscuous makes the device take frames to any address for as long as the socket is open.
func (s *socket) promiscuous() error {
	link, err := net.InterfaceByName(s.device)
	if err != nil {
		return err
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptPacketMreq(int(fd), unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &unix.PacketMreq{
			Ifindex: int32(link.Index), Type: unix.PACKET_MR_PROMISC,
		})
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("making %s promiscuous: %w", s.device, err)
	}
	return nil
}

// receive waits for the next frame and returns it as it was on the wire. It uses buf, and copies.
func (s *socket) receive(buf []byte) (data []byte, outgoing bool, err error) {
	raw, err := s.SyscallConn()
	if err != nil {
		return nil, false, err
	}
	var oob [128]byte
	var n, oobn int
	var from unix.Sockaddr
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, oobn, _, from, failed = unix.Recvmsg(int(fd), buf, oob[:], unix.MSG_TRUNC)
			if failed != unix.EINTR {
				return failed != unix.EAGAIN
			}
		}
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, false, err
	}
	if n > len(buf) {
		return nil, false, fmt.Errorf("frame of %d bytes does not fit %d", n, len(buf))
	}
	if ll, ok := from.(*unix.SockaddrLinklayer); ok {
		outgoing = ll.Pkttype == unix.PACKET_OUTGOING
	}
	data, err = onWire(buf[:n], oob[:oobn])
	return data, outgoing, err
}

// onWire puts back the outermost VLAN tag, which the kernel has taken out of the frame into the auxiliary data.
func onWire(frame, oob []byte) ([]byte, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("reading auxiliary data: %w", err)
	}
	for _, m := range messages {
		if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA {
			continue
		}
		var aux unix.TpacketAuxdata
		if _, err := binary.Decode(m.Data, binary.NativeEndian, &aux); err != nil {
			return nil, fmt.Errorf("reading auxiliary data: %w", err)
		}
		if aux.Status&unix.TP_STATUS_VLAN_VALID == 0 || len(frame) < 12 {
			continue
		}
		tpid := uint16(unix.ETH_P_8021Q)
		if aux.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			tpid = aux.Vlan_tpid
		}
		whole := append(make([]byte, 0, len(frame)+4), frame[:12]...)
		whole = binary.BigEndian.AppendUint16(whole, tpid)
		whole = binary.BigEndian.AppendUint16(whole, aux.Vlan_tci)
		return append(whole, frame[12:]...), nil
	}
	return append([]byte(nil), frame...), nil
}

// dropped is how many frames the kernel has dropped on this socket since it was last asked.
func (s *socket) dropped() (int, error) {
	raw, err := s.SyscallConn()
	if err != nil {
		return 0, err
	}
	var stats *unix.TpacketStats
	var failed error
	err = raw.Control(func(fd uintptr) {
		stats, failed = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return 0, fmt.Errorf("asking for dropped frames: %w", err)
	}
	return int(stats.Drops), nil
}
