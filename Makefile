# Everything a person or CI runs. Each target first sets up what a fresh Debian or Ubuntu machine lacks.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup build demo test lint unit e2e docs bench fuzz soak sim-long venv clean

CARGO := deploy/cargo.sh
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
VENV := $(TARGET)/venv
export KAKERA_BIN_DIR := $(TARGET)/release
export KAKERA_PYTHON := $(VENV)/bin/python

help: ## Say what the targets do
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:
	@deploy/setup.sh

build: setup ## Build all binaries
	@$(CARGO) build --release --workspace --locked

demo: build ## The main job: a sharded testnet of 12 processes, 1,000 transfers, two kills, all checked
	@$(KAKERA_BIN_DIR)/kakera demo

test: lint unit e2e docs ## Everything CI runs: format, lints, unit, property and multi-process tests, docs

lint: setup
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets --locked -- -D warnings

unit: build
	$(CARGO) test --release --workspace --locked --lib --bins

e2e: build venv
	$(CARGO) test --release --workspace --locked --test '*' -- --test-threads=1

docs: setup
	$(CARGO) test --release --workspace --locked --doc
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --locked --no-deps

venv: $(VENV)/.made

$(VENV)/.made: tests/requirements.txt
	@deploy/setup.sh test
	@echo "Making a Python environment for the client test in $(VENV)"
	@python3 -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

bench: build ## Measure the consensus engine and the chain against their floors
	$(CARGO) bench --workspace --locked --bench '*'

# Coverage for libFuzzer on a stable toolchain: LLVM's own pass, for everything that is compiled for --target.
SANCOV := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
SECONDS := 60
FUZZ := $(TARGET)/fuzz

fuzz: setup ## Fuzz every decoder and verifier (SECONDS=60 for each target)
	cargo build --release --locked -p kakera-fuzz
	RUSTC_WRAPPER=tests/fuzz/rustc.sh RUSTFLAGS="$(SANCOV)" CARGO_TARGET_DIR=$(FUZZ) cargo build --release --locked -p kakera-fuzz-driver --target $(HOST)
	@$(KAKERA_BIN_DIR)/kakera-fuzz run --driver $(FUZZ)/$(HOST)/release/kakera-fuzz-driver --corpus tests/fuzz/corpus \
		--work $(FUZZ)/found --seconds $(SECONDS) $(addprefix --target ,$(FUZZ_TARGETS)) $(if $(KEEP),--keep $(KEEP))

soak: build ## Half an hour of drawn faults under load (KAKERA_SOAK_SECONDS), then 200 kill and restart cycles
	KAKERA_SOAK_SECONDS=$${KAKERA_SOAK_SECONDS:-1800} \
	  $(CARGO) test --release --workspace --locked --test soak -- --test-threads=1 --nocapture
	KAKERA_KILL_CYCLES=200 $(CARGO) test --release --workspace --locked --test kills -- --test-threads=1 --nocapture

sim-long: build ## 10,000 seeds over all simulated scenarios (some half hour on two cores)
	@scenarios=$$($(KAKERA_BIN_DIR)/kakera sim list --json | wc -l) && \
	$(KAKERA_BIN_DIR)/kakera sim run --seeds 1..$$((10000 / scenarios + 2)) --keep-going --out $(TARGET)/sim

clean: ## Remove what was built here (not the RocksDB cache)
	@$(CARGO) clean
