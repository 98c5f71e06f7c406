# Everything that is needed is installed by the targets themselves (tools/setup.sh), on Debian 12 with
# rustup, git and make, as root or with sudo.

SHELL := bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.tools/bin:$(PATH)

# 1: measure which lines the tests run, and refuse less than 80 %.
export COVERAGE ?= 0
# rustup or debian: force the compiler for WebAssembly.
export WASM_TOOLCHAIN ?=
# redis: the demo's redis-proxy keeps its counts in a real Redis; else in its memory.
export STORE ?=
# 1: fewer and shorter rounds of the benchmark, and docs/benchmarks.md stays as it is.
export QUICK ?=
# host:port of a limiter that Envoy's `ratelimit` asks over gRPC: the benchmark measures it beside ours.
export LIMITER ?=

ENVOY_TEST = cargo run --locked --profile ci --package envoy-test
LIMITS_TEST = cargo build --locked --release --package redis-proxy --package limits-test && \
	cargo run --locked --release --package limits-test
LISTS_TEST = cargo build --locked --profile ci --package redis-proxy && \
	cargo run --locked --profile ci --package limits-test
DEMO_SERVICE = cargo build --locked --profile ci --package redis-proxy
DEMO_ACT = cargo run --locked --profile ci --package limits-test --bin
DEMO_SETUP = tools/setup.sh build envoy certs
TEST_SETUP = tools/setup.sh build envoy test $(if $(filter 1,$(COVERAGE)),cover)

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Install everything that any target needs
	@tools/setup.sh build envoy test lint cover

.PHONY: demo
demo: ## Real Envoy: good and bad requests, limits under load, known-bad clients; STORE=redis for a real Redis
	@$(DEMO_SETUP) $(if $(filter redis,$(STORE)),redis)
	@tools/wasm.sh
	@$(ENVOY_TEST) --bin demo
	@$(DEMO_SERVICE)
	@$(DEMO_ACT) demo-limits
	@$(DEMO_ACT) demo-lists

.PHONY: run
run: ## The demo's Envoy, left up to be tried by hand
	@$(DEMO_SETUP)
	@tools/wasm.sh
	@$(ENVOY_TEST) --bin demo -- --stay

.PHONY: wasm
wasm: ## Build every filter to dist/<name>.wasm
	@tools/setup.sh build
	@tools/wasm.sh

.PHONY: test
test: ## All tests: native, WebAssembly, exports, Envoy, Kong where there is one, a new filter
	@$(TEST_SETUP)
	@tools/wasm.sh
	@tools/test.sh native wasm abi gateways kong coverage new

.PHONY: wasm-test
wasm-test: ## Unit tests as WebAssembly, in Node
	@tools/setup.sh build test
	@tools/test.sh wasm

.PHONY: envoy-test
envoy-test: ## The cases in real Envoy
	@$(TEST_SETUP)
	@tools/wasm.sh
	@tools/test.sh gateways

.PHONY: kong-test
kong-test: ## The cases in a real Kong: KONG_BIN, or Docker with kong:3.9
	@tools/setup.sh build test
	@tools/wasm.sh
	@tools/test.sh kong

.PHONY: parity
parity: ## In what this process, Envoy and Kong differ, over all cases
	@$(TEST_SETUP)
	@tools/wasm.sh
	@tools/parity.sh

.PHONY: test-new
test-new: ## A filter fresh from the template, through all its tests
	@$(TEST_SETUP)
	@tools/wasm.sh edge-headers
	@tools/test.sh new

.PHONY: accuracy
accuracy: ## How exact limits are under load: two Envoys, one Redis (5 minutes)
	@tools/setup.sh build envoy test
	@tools/wasm.sh rate-limit
	@$(LIMITS_TEST) --bin accuracy

.PHONY: chaos
chaos: ## What each kind of rule answers while Redis or redis-proxy is broken (3 minutes)
	@tools/setup.sh build envoy test
	@tools/wasm.sh rate-limit
	@$(LIMITS_TEST) --bin chaos

.PHONY: propagation
propagation: ## How long an entry takes from the control API to every worker, and back (5 minutes)
	@tools/setup.sh build envoy certs
	@tools/wasm.sh fingerprint-deny tarpit
	@$(LISTS_TEST) --bin propagation

.PHONY: tarpit-bench
tarpit-bench: ## What 5,000 clients in the tarpit cost the others (5 minutes)
	@tools/setup.sh build envoy
	@tools/wasm.sh tarpit
	@cargo run --locked --profile ci --package limits-test --bin tarpit-bench

.PHONY: bench
bench: ## What each filter costs beside Envoy's own and beside none (15 minutes; QUICK=1: 4; LIMITER=host:port)
	@tools/setup.sh build envoy
	@tools/wasm.sh
	@cargo build --locked --release --package redis-proxy --package bench
	@cargo run --locked --release --package bench -- $(if $(filter 1,$(QUICK)),--quick) \
		$(if $(LIMITER),--limiter "$(LIMITER)")

.PHONY: dashboards
dashboards: ## Write ops/grafana and ops/prometheus anew; draw the dashboards from a run (4 minutes)
	@tools/setup.sh build envoy certs nats prometheus
	@tools/wasm.sh
	@UPDATE=1 cargo test --locked --profile ci --package observe --test generated
	@cargo build --locked --profile ci --package redis-proxy
	@cargo run --locked --profile ci --package observe

.PHONY: coverage
coverage: ## Which lines the tests run; at least 80 %
	@COVERAGE=1 tools/setup.sh build envoy test cover
	@tools/wasm.sh
	@COVERAGE=1 tools/test.sh native gateways coverage

.PHONY: lint
lint: ## Format, clippy, names, shell scripts, licences
	@tools/setup.sh build lint
	@tools/lint.sh

.PHONY: fuzz
fuzz: ## redis-proxy against its OpenAPI documents; rsa-verify against rsa, 20,000 times (6 minutes)
	@tools/setup.sh test
	@PROPTEST_CASES=20000 cargo test --locked --release --package rsa-verify --test against_rsa
	@FUZZ=100 cargo test --locked --profile ci --package redis-proxy --test it -- does_what_its_document_says

.PHONY: config
config: ## ops/config/kong.yml and envoy.yaml out of their sources
	@tools/setup.sh build
	@cargo run --locked --quiet --profile ci --package portcullis-cli -- config build ops/config

.PHONY: verify
verify: ## A running gateway, as a client sees it: URL=https://…; CA=file CREDENTIALS=folder LOAD=1 ARGS=…
	@tools/setup.sh build
	@cargo run --locked --quiet --profile ci --package portcullis-cli -- verify-gateway "$(URL)" \
		$(if $(CA),--ca "$(CA)") $(if $(CREDENTIALS),--credentials "$(CREDENTIALS)") \
		$(if $(filter 1,$(LOAD)),--load) $(ARGS)

.PHONY: microbench
microbench: ## What decisions cost in this process: tokens, limits, lists, headers (5 minutes)
	@tools/setup.sh build
	@cargo bench --locked --package microbench
	@cargo bench --locked --package watchlist

.PHONY: certs
certs: ## A local test authority and its certificates, in certs/, for the control API
	@tools/setup.sh certs
	@tools/certs.sh certs

.PHONY: audit
audit: ## Known vulnerabilities in what we depend on (needs the advisory database)
	@tools/setup.sh build lint
	@cargo deny --locked check advisories

.PHONY: reproducible
reproducible: ## The same bytes from two clones; PROVENANCE=file: as that release says (10 minutes)
	@tools/setup.sh build
	@tools/reproducible.sh $(PROVENANCE)

.PHONY: release-build release-sbom release-sign release-verify release-package release-push release-pull release-promote
# What each reads from the environment: tools/release.sh.
release-build:
	@rm -rf dist
	@$(MAKE) --no-print-directory wasm
release-sbom:
	@tools/setup.sh build sbom
	@tools/release.sh sbom
release-sign release-verify release-package release-promote: release-%:
	@tools/setup.sh build
	@tools/release.sh $*
release-push release-pull: release-%:
	@tools/setup.sh build images
	@tools/release.sh $*

.PHONY: release-dry-run
release-dry-run: ## From a clean clone to signed images for production, pulled from a registry (10 minutes)
	@tools/setup.sh build images sbom
	@tools/release-dry-run.sh

.PHONY: abi
abi: ## Write down what each filter, and the template, exports and imports
	@tools/setup.sh build test
	@tools/wasm.sh
	@node tools/abi.mjs update
	@tools/new-test.sh update

.PHONY: new
new: ## A new filter: make new NAME=my-filter
	@tools/new.sh "$(NAME)"

.PHONY: fmt
fmt: ## Format all sources
	@cargo fmt --all

.PHONY: clean
clean: ## Remove what was built; tools stay in the cache
	@rm -rf target dist release coverage .tools
