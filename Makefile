# Two commands matter: `make demo` runs everything, `make test` proves everything.
# Both install what is missing first. Build outputs go to a cache outside the checkout, so that RocksDB
# is compiled once per machine and not once per clone; nothing depends on the cache being there.

SHELL := /bin/bash
CACHE := $(or $(LODESTONE_CACHE),$(HOME)/.cache/lodestone)
export LODESTONE_CACHE := $(CACHE)
export CARGO_TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(CACHE)/target)
export LODESTONE_BIN := $(CARGO_TARGET_DIR)/release/lodestone
# One profile for clippy, tests, demo and benches.
CARGO := cargo
PROFILE := --release --locked

.PHONY: demo test check fmt clippy web unit integration sim storm bench doc deps deps-test build advisories clean

demo: deps web build
	$(LODESTONE_BIN) demo

test: deps deps-test web
	.ci/steps

deps:
	@scripts/install-deps build

deps-test:
	@scripts/install-deps test

web:
	@scripts/build-web

build:
	@scripts/cargo-build

check: web
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(PROFILE) --workspace --all-targets -- -D warnings

unit:
	$(CARGO) test $(PROFILE) --workspace

# More than a million generated steps of whole histories (late and repeated events, merges and their undoing,
# erasure, edits, crashes, clocks that jump) against the naive oracle, which tells how many they were; then tens
# of thousands of histories of single definitions, and of the fold. A failure prints its steps; SEED=… makes a
# run repeatable.
sim:
	PROPTEST_CASES=$(or $(CASES),27000) $(if $(SEED),PROPTEST_RNG_SEED=$(SEED)) \
		$(CARGO) test $(PROFILE) --workspace --test machine_oracle --test fold -- --nocapture

# A million accepts over a thousand limits, on 64 connections, while the server is killed and started again.
storm: build
	LODESTONE_STORM_ACCEPTS=$(or $(ACCEPTS),1000000) $(CARGO) test $(PROFILE) --workspace --test caps -- --nocapture

bench: web build
	scripts/bench

doc:
	$(CARGO) doc $(PROFILE) --workspace --no-deps --document-private-items

# Needs the advisory database from the network, so it is not part of `make test`.
advisories:
	cargo deny check
