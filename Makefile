# spanctl: make lists the targets.
GO      ?= go
BIN     := bin/spanctl
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

STATICCHECK := $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT     := $(GO) run mvdan.cc/gofumpt@v0.12.0

# Fuzz targets run this long each, benchmarks this often, what is soaked as often;
# the oracle decides on so many packets.
FUZZTIME ?= 1m
COUNT    ?= 5
SOAK     ?= 50
ORACLE   ?= 100000

# With RUNS=DIR suites are verbose and also write there what they print; make compatibility makes its table of that.
RUNS ?=
SHELL := bash
.SHELLFLAGS := -o pipefail -c
runs = $(if $(RUNS),| { mkdir -p $(RUNS) && tee $(RUNS)/$(1).txt; })
GOTEST = $(GO) test $(if $(RUNS),-v -count 1)

.DEFAULT_GOAL := help
.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/spanctl
	$(GO) build -ldflags "-X main.version=$(VERSION)" -o $(BIN) ./cmd/spanctl

.PHONY: deps
deps: ## install Open vSwitch, Suricata and libvirtd, if they are not there (Debian, Ubuntu; as root)
	@.ci/deps

.PHONY: demo
demo: deps build ## show the main job on a private Open vSwitch, in about a minute (as root)
	$(BIN) demo

.PHONY: test
test: deps examples-deps ## run everything essential (as root; under 15 minutes)
	$(GO) vet ./...
	$(GOTEST) -race -parallel 4 -timeout 20m ./... $(call runs,test) # they wait more than they compute

.PHONY: test-all
test-all: deps lint generate-check test-ovs35 test-vm test-kernel ## run what takes longer: lint, generated files, OVS 3.5, virtual machines, the kernel's datapath, a reboot, short fuzzing, each benchmark once
	$(MAKE) test-reboot SHORT=-short
	$(MAKE) fuzz FUZZTIME=20s
	$(MAKE) bench COUNT=1

.PHONY: soak
soak: deps ## do over 50 times what must never leak or be missed: apply, delete, kill, and the agent's 1,000 restarts (as root; SOAK=50 rounds)
	SPANCTL_SOAK=$(SOAK) $(GO) test -race -run 'E2EIsolation|E2EAgent' -count 1 -timeout 90m ./cmd/spanctl

.PHONY: oracle
oracle: deps ## compare the flow tier with the policy, packet by packet, on a real switch (ORACLE=100000 decisions)
	SPANCTL_ORACLE=$(ORACLE) $(GO) test -run Oracle -count 1 -timeout 60m ./cmd/spanctl

.PHONY: test-ovs35
test-ovs35: deps examples-deps ## run the end-to-end tests and the oracle on Open vSwitch 3.5, from Debian 13 in a cache folder (Debian; as root)
	@dir=$$(.ci/ovs35) && SPANCTL_LAB_ROOT=$$dir $(GOTEST) -parallel 4 -timeout 20m -run 'E2E|Examples|Demo|Oracle' -skip 'HandMade|E2ESchema' ./cmd/spanctl $(call runs,ovs35)

.PHONY: test-vm
test-vm: deps ## run the tests with virtual machines as guests, libvirt's domains among them, by QEMU without KVM, their kernel from Debian in a cache folder (Debian; as root)
	@dir=$$(.ci/vm) && SPANCTL_VM=$$dir $(GOTEST) -tags vm -p 1 -count 1 -timeout 10m -run '^TestVM|^TestE2EVersions$$' -skip '^TestVMReboots' ./ovs/ovstest ./cmd/spanctl $(call runs,vm)

.PHONY: test-kernel
test-kernel: deps ## run end-to-end tests on the kernel's datapath, in a virtual machine by QEMU without KVM, its kernel from Debian in a cache folder (Debian; as root)
	@dir=$$(.ci/vm) && SPANCTL_VM=$$dir $(GOTEST) -tags vm -count 1 -timeout 30m -run '^TestKernel$$' ./cmd/spanctl $(call runs,kernel)

.PHONY: test-reboot
test-reboot: deps ## boot whole Debians, move their bridge to Open vSwitch, reboot them, move it back, by QEMU without KVM (Debian; as root; about 10 minutes, with SHORT=-short to the boot after the migration: 3)
	@dir=$$(.ci/system) && SPANCTL_SYSTEM=$$dir $(GOTEST) -tags vm -count 1 -timeout 90m $(SHORT) -run '^TestVMReboots|^TestE2EVersions$$' ./cmd/spanctl $(call runs,reboot)

.PHONY: compatibility
compatibility: ## write docs/reference/compatibility.md of what make test test-all RUNS=DIR has left in RUNS=DIR
	$(GO) test -count 1 -run '^TestCompatibility$$' ./cmd/spanctl -runs $(abspath $(RUNS))

.PHONY: lint
lint: ## check form: gofumpt, staticcheck
	@out=$$($(GOFUMPT) -l $$(git ls-files '*.go')); test -z "$$out" || { echo "gofumpt would change:"; echo "$$out"; exit 1; }
	$(STATICCHECK) -tags vm ./...

.PHONY: generate
generate: deps ## make the generated files anew
	$(GO) generate ./...

.PHONY: generate-check
generate-check: generate ## fail if a generated file is stale
	@git diff --exit-code -- ovs/vswitchd || { echo "generated files are stale: run make generate and commit"; exit 1; }

.PHONY: fuzz
fuzz: ## fuzz every parser for FUZZTIME (1m) each
	@set -e; for file in $$(git grep -lE '^func Fuzz' -- '*_test.go'); do for target in $$(grep -oE '^func Fuzz[A-Za-z]+' $$file | cut -c6-); do \
		$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./$$(dirname $$file); done; done

.PHONY: bench
bench: deps bench-deps ## compare speed and memory with peers in one run, as ratios (COUNT=5 rounds)
	$(GO) test -run '^$$' -bench . -benchtime 10x -count $(COUNT) ./policy/plan
	$(GO) test -run '^$$' -bench . -benchtime 1x -count $(COUNT) -timeout 50m ./ovs
	$(GO) test -run '^$$' -bench 'Goodput|RoundTrip' -benchtime $$((20 * $(COUNT)))x -timeout 50m ./cmd/spanctl
	$(GO) test -run '^$$' -bench 'AgentEvent' -benchtime $$((10 * $(COUNT)))x ./cmd/spanctl
	$(GO) test -run '^$$' -bench 'AgentIdle' -benchtime $(COUNT)x ./cmd/spanctl
	$(GO) test -run '^$$' -bench 'Megaflows|Rules' -benchtime $$((3 * $(COUNT)))x ./cmd/spanctl

.PHONY: bench-deps
bench-deps: ## install iperf3, if it is not there (Debian, Ubuntu; as root)
	@command -v iperf3 >/dev/null || { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends iperf3; }

.PHONY: examples-deps
examples-deps: ## install what the examples of automation run, if it is not there: Ansible's core, xmllint (Debian, Ubuntu; as root)
	@command -v ansible-playbook >/dev/null && command -v xmllint >/dev/null || { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ansible-core libxml2-utils; }
