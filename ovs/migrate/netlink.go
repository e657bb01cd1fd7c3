package migrate

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// dump asks the kernel for all objects of a kind (RTM_GET*), whose messages are then of type reply (RTM_NEW*). A dump that
// others' changes have interrupted is begun again.
func dump(get, reply int, body []byte) ([][]byte, error) {
	return dumpOf(unix.NETLINK_ROUTE, get, reply, body)
}

// dumpOf is dump of another part of the kernel than rtnetlink(7).
func dumpOf(protocol, get, reply int, body []byte) ([][]byte, error) {
	const attempts = 20
	var messages [][]byte
	var err error
	for range attempts {
		request := nl.NewNetlinkRequest(get, unix.NLM_F_DUMP)
		request.AddRawData(body)
		messages, err = request.Execute(protocol, uint16(reply))
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return messages, err
}

// tell has the kernel do something, and returns when it has.
func tell(kind, flags int, body []byte) error {
	request := nl.NewNetlinkRequest(kind, unix.NLM_F_ACK|flags)
	request.AddRawData(body)
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// linkNamed is a network device.
func linkNamed(name string) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", name, err)
	}
	return link, nil
}

// missing tells whether the error says that there is no such device.
func missing(err error) bool { return errors.As(err, &netlink.LinkNotFoundError{}) }
