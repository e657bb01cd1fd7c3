package ovstest

import "errors"

var (
	// ErrNotInstalled indicates that a program of Open vSwitch is missing on this machine.
	ErrNotInstalled = errors.New("open vswitch is not installed: install openvswitch-switch (make deps)")

	// ErrNotPermitted indicates that the process may not make network namespaces and devices.
	ErrNotPermitted = errors.New("network namespaces need root (CAP_SYS_ADMIN and CAP_NET_ADMIN): run as root")

	// ErrClosed indicates that the lab, guest or capture is not running any more.
	ErrClosed = errors.New("closed")

	// ErrNoNamespaces indicates a call for guests or devices on a lab that has none (DatabaseOnly, Dummy).
	ErrNoNamespaces = errors.New("this lab has no network namespaces: start it without DatabaseOnly and Dummy")

	// ErrLost indicates that the kernel dropped frames before a capture read them: its counts mean nothing.
	ErrLost = errors.New("frames lost in the capture's receive buffer")
)
