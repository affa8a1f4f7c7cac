# The two that matter: `make demo` and `make test`. Both build what is missing; the first time that takes minutes.

CARGO ?= cargo

.PHONY: help build demo test check unit integration differential simulate mutants fuzz chaos soak conformance end-to-end deployed image crds install-yaml kind bench deny release-check

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build jobwright and the testbed
	$(CARGO) build --workspace

demo: build ## Show Jobwright at work on a real cluster (on KUBECONFIG's, if set)
	$(CARGO) run --quiet --package testbed -- demo --jobwright target/debug/jobwright

# The testbed's programs are built before the tests, where the progress can be seen.
test: check ## Everything: formatting, lints, unit, property, integration and end-to-end tests
	$(CARGO) run --quiet --package testbed -- build
	$(CARGO) test --workspace

check: ## Formatting and lints only
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

unit: ## Unit and property tests only: seconds, no cluster
	$(CARGO) test --lib

integration: ## The controller on a real API server, tests playing the kubelet
	$(CARGO) test --test integration

N ?= 200
differential: ## Jobwright and the built-in controller side by side; N=5000 tries that many random scenarios
	DIFFERENTIAL_RANDOM=$(N) $(CARGO) test --test differential -- --nocapture

conformance: build ## Upstream's integration tests for Jobs against the binary; the first time takes long
	tests/conformance/run

SEEDS ?= 10000
FROM ?= 0
simulate: ## Whole histories with faults, one a seed: SEEDS=100000 tries that many, FROM=77 begins there
	SIMULATION_SEEDS=$(SEEDS) SIMULATION_FROM=$(FROM) $(CARGO) test --profile simulation --test simulation -- --nocapture no_history

mutants: ## Deliberate bugs, each of which the simulation has to find; MUTANTS=41-60 tries those alone
	$(CARGO) test --test mutants -- --ignored --nocapture

SECONDS ?= 60
fuzz: ## Every parser of what others write, SECONDS each (needs a nightly toolchain and cargo-fuzz)
	for target in $$($(CARGO) +nightly fuzz list --fuzz-dir tests/fuzz); do \
	  $(CARGO) +nightly fuzz run --fuzz-dir tests/fuzz $$target -- -max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=1024 || exit 1; \
	done

CHAOS ?= 600
chaos: ## Kills, pauses and cuts of everything at random for CHAOS seconds, and exact counts at the end
	CHAOS_SECONDS=$(CHAOS) $(CARGO) test --test endurance -- --nocapture counts_are_exact

MINUTES ?= 120
soak: ## A long run under steady load: memory, files, caches, queues and times, from beginning to end
	SOAK_SECONDS=$$(( $(MINUTES) * 60 )) $(CARGO) test --profile simulation --test endurance -- --ignored --nocapture grow

end-to-end: ## The controller on a real node (or on KUBECONFIG's cluster)
	$(CARGO) test --test end_to_end

deployed: ## The image, installed by the chart on a real node: upgrades, failures, moving here and back
	$(CARGO) test --test deployed -- --test-threads=1 --nocapture

image: ## The container image, as an OCI tarball, without a Docker engine
	$(CARGO) run --quiet --package testbed -- image

crds: ## Write crds/ from the types
	$(CARGO) run --quiet -- crds > crds/jobwright.yaml.new && mv crds/jobwright.yaml.new crds/jobwright.yaml
	cp crds/jobwright.yaml deploy/chart/crds/

install-yaml: ## Render deploy/install.yaml from the chart
	helm=$$($(CARGO) run --quiet --package testbed -- path helm) && \
	  { cat deploy/install-head.yaml && $$helm template jobwright deploy/chart --include-crds --no-hooks --namespace jobwright-system; } \
	  > deploy/install.yaml.new && mv deploy/install.yaml.new deploy/install.yaml

kind: ## A kind cluster with Jobwright in it, and the end-to-end tests against it (needs kind and a container engine)
	CARGO="$(CARGO)" deploy/kind/run

release-check: ## What a release needs: dependencies, bill of materials, versions, a binary that can be built again
	CARGO="$(CARGO)" deploy/release-check

deny: ## Licences, sources and known vulnerabilities of dependencies
	CARGO="$(CARGO)" .ci/deny

QUICK ?=
PAGE ?=
SCALE ?=
bench: ## Jobwright and the built-in controllers on the same work, in turn; QUICK=1 less, PAGE=1 writes docs/results/performance.md, SCALE=1 50,000 Jobs
	$(CARGO) run --quiet --profile bench-harness --package bench -- $(if $(QUICK),--quick) $(if $(PAGE),--page) $(if $(SCALE),--scale) $(BENCH)
