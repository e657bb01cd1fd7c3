package ovstest

import (
	"cmp"
	"io"
	"os"
)

// DatapathVariable is an environment variable with the datapath_type of labs that do not say one.
const DatapathVariable = "SPANCTL_LAB_DATAPATH"

// Config says what lab to start. The zero value is one bridge br0 on the userspace datapath.
type Config struct {
	Name    string    // of the test or demo; processes, namespaces and the directory carry it (default "lab")
	Bridges []string  // made before Start returns (nil: br0; empty and not nil: none)
	Log     io.Writer // every command and what it said, for people (nil: nowhere)
	Schema  string    // vswitch.ovsschema (default: the installed one)

	// Datapath is each bridge's datapath_type (default "dummy" with Dummy, else what DatapathVariable says, else
	// "netdev"; "system" needs the kernel's openvswitch module).
	Datapath string

	// DatabaseOnly starts ovsdb-server alone: no ovs-vswitchd, no namespaces, no need for root.
	DatabaseOnly bool

	// Dummy runs ovs-vswitchd with dummy devices only: thousands of ports, no namespaces, no need for root.
	Dummy bool
}

// filled is the configuration with its defaults.
func (c Config) filled() Config {
	if c.Name == "" {
		c.Name = "lab"
	}
	if c.Bridges == nil {
		c.Bridges = []string{"br0"}
	}
	if c.Schema == "" {
		c.Schema = "/usr/share/openvswitch/vswitch.ovsschema"
	}
	if c.Datapath == "" {
		c.Datapath = cmp.Or(os.Getenv(DatapathVariable), "netdev")
		if c.Dummy {
			c.Datapath = "dummy"
		}
	}
	return c
}
