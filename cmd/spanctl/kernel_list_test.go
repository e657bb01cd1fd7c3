//go:build vm

package main

import (
	"strings"
	"testing"
)

// kernelTests are the tests that TestKernel runs beside TestE2EKernel…: those that say something of the datapath, whichever
// that is.
var kernelTests = []string{
	"TestE2EVersions",
	"TestE2ERunningConnectionsFollow",
	"TestE2EAgentHeals",
	"TestE2EFlowSnaplenCutsAtEveryDestination",
	"TestE2EFlowTagsAreThoseAskedFor",
	"TestE2EFlowIsolation",
	"TestE2EFlowFeedbackCopiesWhatIsAskedFor",
	"TestE2EFlowBalanceKeepsConnectionsWhole",
	"TestE2EFlowSampleKeepsOneInFour",
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
	"TestE2EBridgeMigrateConfirmRevert",
	"TestE2EBridgeCarriesTheHost",
	"TestE2EBridgeKilledAtEveryStep",
	"TestE2EBridgeTrafficGoesOn",
	"TestE2EBridgeTheWholeStory",
	"TestE2EBridgeKeepsSTP",
}

// The datapath is the kernel's.
func TestE2EKernelDatapath(t *testing.T) {
	s := newSite(t, "a")
	shown, err := s.lab.AppCtl(s.ctx, "dpif/show")
	s.check(err)
	if !s.kernels() || !strings.Contains(shown, "system@ovs-system") || !strings.Contains(shown, s.guests["a"].Port()) {
		t.Fatalf("these tests are for the kernel's datapath (run make test-kernel); there is\n%s", shown)
	}
}
