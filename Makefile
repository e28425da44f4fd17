# Every task is one command. Plain `make` lists them. Nothing needs to be set up first.

PYTHON ?= python3
VENV := .venv/bin
READY := .venv/.complete
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lint types launcher layer verify-reproducible standin bench bench-decide bench-cold
.PHONY: bench-steady bench-throughput bench-fault bench-subscribe fuzz gates lock clean test-aarch64

help:  ## this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 17

demo: setup launcher-native  ## a real function, the extension and its launcher, the simulated Lambda, what Datadog gets
	@$(VENV)/python build/layer.py --source
	@$(VENV)/fliptop-lab demo $(ARGS)

test: setup launcher-native check launcher-sanitized example-functions  ## lint, types and every test that takes seconds (about five minutes)
	@$(VENV)/pytest -m "not slow and not frozen" $(ARGS)

setup: $(READY)  ## the virtual environment that everything runs in (done by every other task when needed)

$(READY): requirements.lock pyproject.toml build/environment.py
	@$(PYTHON) build/environment.py

check: lint types  ## lint and types only

lint: setup
	@$(VENV)/ruff check . && $(VENV)/ruff format --check .

types: setup
	@$(VENV)/mypy

launcher: setup  ## dist/launcher/<arch>/datadog-agent for x86_64 and aarch64
	@$(VENV)/python build/launcher.py --arch all

.PHONY: launcher-native launcher-sanitized example-functions
example-functions: setup  # compiled before a test waits for it
	@$(VENV)/python -c 'from fliptop_lab.functions import find; find("c")'

launcher-sanitized: setup
	@$(VENV)/python build/launcher.py --flavour sanitized

launcher-native: setup
	@$(VENV)/python build/launcher.py --arch native

layer: setup  ## dist/fliptop-<arch>.zip: launcher, frozen extension, manifest; checked and started (ARCH=aarch64)
	@$(VENV)/python build/layer.py $(if $(ARCH),--arch $(ARCH))

test-aarch64: setup example-functions  ## the layer for aarch64 through whole lives under QEMU (after `make layer ARCH=aarch64`)
	@FLIPTOP_TEST_LAYER=$(CURDIR)/dist/fliptop-aarch64.zip $(VENV)/python build/emulate.py $(VENV)/pytest \
	  tests/promises/test_do_no_harm.py tests/promises/test_no_silent_loss.py tests/promises/test_enhanced_metrics.py $(ARGS)

verify-reproducible: setup  ## build the layer twice for each architecture, and compare the bytes (quarter of an hour)
	@$(VENV)/python build/verify_reproducible.py $(ARGS)

standin: setup  ## build Dockerfile.al2023 without Docker, on Debian in the base image's place (needs root and buildah)
	@$(VENV)/python build/standin.py $(ARGS)

bench:  ## what deciding costs, cold starts (ARGS go to this), and what faults cost
	@$(MAKE) --no-print-directory bench-decide ARGS=
	@$(MAKE) --no-print-directory bench-cold
	@$(MAKE) --no-print-directory bench-fault ARGS=

bench-decide: setup launcher-native  ## what the launcher's decision costs, side by side with doing nothing
	@$(VENV)/python build/layer.py --source
	@$(VENV)/fliptop-lab bench decide $(ARGS)

bench-cold: layer  ## cold starts, side by side (ARGS="--function python -n 15 --plot cold.svg --peer NAME=PATH --json")
	@$(VENV)/fliptop-lab bench cold $(ARGS)

bench-steady: layer  ## what an invocation costs, per flush strategy, rate and load (ARGS="--strategy end --rate 10 --load 10")
	@$(VENV)/fliptop-lab bench steady $(ARGS)

bench-throughput: layer  ## datagrams, log lines and spans per second of CPU, and what gets lost
	@$(VENV)/fliptop-lab bench throughput $(ARGS)

bench-fault: layer  ## latency, billed time and errors with each fault, with and without the extension
	@$(VENV)/fliptop-lab bench fault $(ARGS)

bench-subscribe: layer  ## what the order of subscribing and asking for the first event gains and loses
	@$(VENV)/fliptop-lab bench subscribe $(ARGS)

fuzz: setup  ## fuzz the launcher's scanners and its HTTP (needs clang; ARGS="--seconds 60")
	@$(VENV)/python build/fuzz.py $(ARGS)

gates: setup launcher-native  ## instruction counts against launcher/budget.json (needs valgrind)
	@$(VENV)/python build/instructions.py

lock: setup  ## write the locks anew from pyproject.toml (ARGS=--upgrade for newer versions)
	@$(VENV)/python build/lock.py $(ARGS)

clean:  ## remove what was built, but not what was downloaded
	rm -rf dist .cache/lab .pytest_cache .mypy_cache .ruff_cache .hypothesis
