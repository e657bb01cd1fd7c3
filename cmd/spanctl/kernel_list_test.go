//go:build vm

package main

import (
	"os"
	"strings"
	"testing"
)

// kernelTests are the tests that TestKernel runs.
var kernelTests = []string{
	"TestKernelOnlyUnpacksWhatTunnelsBring",
	"TestKernelOnlyDevicesAreDestinations",
	"TestKernelOnlyLoopsWithoutGuards",
	"TestKernelOnlySendsLargeCopiesInFragments",
	"TestE2ERunningConnectionsFollow",
	"TestE2EHubCopiesEveryKindOnceToSixDestinations",
	"TestE2EHubCopiesEveryKindOnceToSixDestinationsOverIPv6",
}

// The datapath is the kernel's, and which kernel and Open vSwitch that are is on record.
func TestDatapathIsTheKernels(t *testing.T) {
	s := newSite(t, "a")
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	s.check(err)
	kind := s.vsctl("get", "Bridge", "br0", "datapath_type")
	t.Logf("lab: Open vSwitch %s", strings.Trim(s.vsctl("get", "Open_vSwitch", ".", "ovs_version"), `"`))
	t.Logf("lab: kernel %s", strings.TrimSpace(string(release)))
	t.Logf("lab: datapath %s", kind)
	if kind != "system" {
		t.Error("these tests are for the kernel's datapath: run make test-kernel")
	}
}
