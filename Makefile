# Start with `make demo` and `make test`. Both build missing programs, which takes minutes the first time.

CARGO ?= cargo

.PHONY: help build demo test check unit integration differential simulate mutants compatibility fuzz chaos soak upgrades peers conformance browser end-to-end deployed image crds install-yaml kind bench deny release-check lint-workflows

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build jobwright and the testbed
	$(CARGO) build --workspace

demo: build ## Run Jobwright on a real cluster and show Jobs and Pods (uses KUBECONFIG if set)
	$(CARGO) run --quiet --package testbed -- demo --jobwright target/debug/jobwright

# The oldest supported version, and the integration tests that touch what differs between versions.
OLDEST := 1.34
VERSIONED := versions:: suspension:: policies:: crd_upgrade:: wire:: check_and_api_server:: adoption::

# Builds the programs of the testbed before the tests, so that their progress is visible.
test: check ## Formatting, lints, and unit, property, integration and end-to-end tests
	$(CARGO) run --quiet --package testbed -- build
	$(CARGO) test --workspace
	TESTED_WIRE=json $(CARGO) test --test integration -- adoption:: completion_modes:: failures::
	TESTED_WIRE=json DIFFERENTIAL_RANDOM=20 DIFFERENTIAL_COUNTS=20 $(CARGO) test --test differential -- job_controller
	TESTBED_KUBERNETES=$(OLDEST) $(CARGO) run --quiet --package testbed -- build --control-plane
	TESTBED_KUBERNETES=$(OLDEST) $(CARGO) test --test integration -- $(VERSIONED)
	tests/conformance/run short

check: ## Formatting, lints, and the words of all texts
	tests/words/check
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy --package jobwright --lib --bins --no-default-features --features controller -- -D warnings
	$(CARGO) clippy --package jobwright --lib --bins --no-default-features --features client -- -D warnings
	$(CARGO) clippy --package jobwright --lib --bins --no-default-features --features ui -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --package jobwright --lib --no-deps --quiet

unit: ## Unit and property tests: seconds, no cluster
	$(CARGO) test --lib --test layers --test mutants

integration: ## The controller on a real API server; tests play the kubelet
	$(CARGO) test --test integration

N ?= 200
differential: ## Jobwright and the built-in controller side by side; N=5000 sets the number of random scenarios
	DIFFERENTIAL_RANDOM=$(N) $(CARGO) test --test differential -- --nocapture

peers: ## JobSet, Kueue and clients on the Jobs of both controllers; PEERS_PAGE=1 writes docs/results/peers.md
	$(CARGO) test --test peers -- --ignored --nocapture

PREVIOUS ?= $(shell cat tests/endurance/previous-release)
upgrades: ## Replicas of the last release and of this tree take turns under load; PREVIOUS=REVISION selects another release
	tests/endurance/build-previous $(PREVIOUS)
	PREVIOUS_JOBWRIGHT=target/previous/debug/jobwright $(CARGO) test --test endurance -- --ignored --nocapture upgrades

conformance: build ## Test suites of upstream against the binary, on a real node too; the first build takes ten minutes
	tests/conformance/run

VERSIONS ?=
SUITES ?=
compatibility: build ## The suites on every Kubernetes version; VERSIONS="1.34 1.35" and SUITES=integration select; writes docs/compatibility.md
	$(CARGO) run --quiet --package testbed -- compatibility --versions="$(VERSIONS)" --suites="$(SUITES)"

SEEDS ?= 10000
FROM ?= 0
simulate: ## Simulated histories with faults, one per seed; SEEDS=100000 sets their number, FROM=77 the first seed
	SIMULATION_SEEDS=$(SEEDS) SIMULATION_FROM=$(FROM) $(CARGO) test --profile simulation --test simulation -- --nocapture no_history

mutants: ## Deliberate bugs that the simulation has to find; MUTANTS=41-60 selects some, MUTANTS=rare those that take longest
	$(CARGO) test --test mutants -- --ignored --nocapture

SECONDS ?= 60
fuzz: ## Fuzz every parser of user input, SECONDS each (needs a nightly toolchain and cargo-fuzz)
	for target in $$($(CARGO) +nightly fuzz list --fuzz-dir tests/fuzz); do \
	  $(CARGO) +nightly fuzz run --fuzz-dir tests/fuzz $$target -- -max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=1024 || exit 1; \
	done

CHAOS ?= 600
chaos: ## Random kills, pauses and cuts for CHAOS seconds, and exact counts at the end
	CHAOS_SECONDS=$(CHAOS) $(CARGO) test --test endurance -- --nocapture counts_are_exact

MINUTES ?= 120
soak: ## A run of MINUTES under steady load that checks memory, files, caches, queues and durations
	SOAK_SECONDS=$$(( $(MINUTES) * 60 )) $(CARGO) test --profile simulation --test endurance -- --ignored --nocapture grow

browser: ## Pages of the console in Chromium
	$(CARGO) test --test browser

end-to-end: ## The examples on a real node (or on the cluster of KUBECONFIG)
	$(CARGO) test --test end_to_end

deployed: ## The image, installed by the chart on a real node: upgrades, failures, migration, uninstalling
	$(CARGO) test --test deployed -- --test-threads=1 --nocapture

image: ## Build the container image as an OCI archive, without a Docker engine; UI=1 builds that of the console
	$(CARGO) run --quiet --package testbed -- image $(if $(UI),--ui)

crds: ## Write crds/ and the copy in the chart from the types
	$(CARGO) run --quiet -- crds > crds/jobwright.yaml.new && mv crds/jobwright.yaml.new crds/jobwright.yaml
	cp crds/jobwright.yaml deploy/chart/crds/

install-yaml: ## Render deploy/install.yaml from the chart
	helm=$$($(CARGO) run --quiet --package testbed -- path helm) && \
	  { cat deploy/install-head.yaml && $$helm template jobwright deploy/chart --include-crds --no-hooks --namespace jobwright-system; } \
	  > deploy/install.yaml.new && mv deploy/install.yaml.new deploy/install.yaml

kind: ## Create a kind cluster with Jobwright and run the end-to-end tests on it (needs kind and a container engine)
	CARGO="$(CARGO)" deploy/kind/run

release-check: ## Check a release: versions, dependencies, bill of materials, reproducible binary
	CARGO="$(CARGO)" deploy/release-check

deny: ## Check licences, sources and known vulnerabilities of dependencies
	CARGO="$(CARGO)" .ci/deny

ACTIONLINT ?= v1.7.12
lint-workflows: ## Check .github/workflows with actionlint (needs Go)
	go run github.com/rhysd/actionlint/cmd/actionlint@$(ACTIONLINT) .github/workflows/*.yml

QUICK ?=
PAGE ?=
SCALE ?=
UI ?=
bench: ## Jobwright and the built-in controllers on the same work, in turn; QUICK=1 does less, PAGE=1 writes docs/results/, SCALE=1 runs 50,000 Jobs, UI=1 measures the console
	$(if $(UI),$(CARGO) build --release)
	$(CARGO) run --quiet --profile bench-harness --package bench -- $(if $(QUICK),--quick) $(if $(PAGE),--page) $(if $(SCALE),--scale) $(if $(UI),--console=target/release/jobwright) $(BENCH)
