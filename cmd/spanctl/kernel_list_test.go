//go:build vm

package main

import (
	"os"
	"strings"
	"testing"
)

// kernelTests are the tests that TestKernel runs beside TestKernelOnly…: those that say something of the datapath, whichever
// that is.
var kernelTests = []string{
	"TestE2ERunningConnectionsFollow",
	"TestE2EAgentHeals",
	"TestE2EFlowSnaplenCutsAtEveryDestination",
	"TestE2EFlowTagsAreThoseAskedFor",
	"TestE2EFlowFeedbackCopiesWhatIsAskedFor",
	"TestE2EFlowBalanceKeepsConnectionsWhole",
	"TestE2EFlowSampleKeepsOneInFour",
	"TestE2EFlowIncludeIsAFilterWhereThereIsOne",
	"TestE2EFlowRulesComeBackAfterACrash",
	"TestE2EFlowFailsOpenOrClosed",
	"TestE2EFlowReplicationIsLeftOut",
	"TestE2EFlowFeedbackAsksForTheCollector",
	"TestE2EFeedbackSenders",
	"TestE2EHubCopiesEveryKindOnceToSixDestinations",
	"TestE2EHubCopiesEveryKindOnceToSixDestinationsOverIPv6",
	"TestE2EHubNumbersAreThoseOfThePolicy",
	"TestE2EHubSnaplenCutsAtEveryLocalDestination",
	"TestE2EHubOutlivesOVSVSwitchd",
	"TestE2EProductionGoesOnWithoutTheAuditGuest",
	"TestE2EWhatAuditGuestsInjectGoesNowhere",
	"TestE2EEverythingIsCopiedOnceByteForByte",
	"TestE2ERestartedAndNewGuestsAreCopiedFromTheirFirstPacket",
	"TestE2EMirrorsOutliveOVSVSwitchd",
	"TestE2ERSPANCopiesIntoItsVLANOnly",
	"TestE2EAgentFollowsGuests",
	"TestE2EAgentOnce",
}

// The datapath is the kernel's, and which kernel and Open vSwitch that are is on record.
func TestKernelOnlyDatapath(t *testing.T) {
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
