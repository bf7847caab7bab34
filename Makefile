# `make help` lists the targets. All the preparing is done by packaging/bootstrap.

BOOTSTRAP := packaging/bootstrap
BIN := .venv/bin

# The interpreter for .venv; empty means Debian's own. Override: make PYTHON=/path/to/python3.12 ...
PYTHON ?=
export PYTHON

# What `make storm` does: a seed (empty: a new one, which is printed), how many faults, how long.
SEED ?=
FAULTS ?= 1000
SECONDS ?= 7200
STORM_FLAGS ?=

# The releases of Debian that `make test-machine` boots.
DEBIAN ?= bookworm trixie

# Where `make install` puts the programs, and the directory that a package is made of, if it is.
PREFIX ?= /opt/privacy-router
DESTDIR ?=

PYTEST := $(BIN)/pytest
PURE := -n 2 tests -m "not e2e and not machine"
UNIT_TESTS := $(PYTEST) $(PURE)
# Tests of one file share one lab, so a file stays on one worker.
E2E_TESTS := $(PYTEST) -n 2 --dist loadfile tests/e2e tests/plan tests/storm -m e2e
# Packages that decide, and how many per cent of their lines and branches the pure tests must take.
FLOORS := chain:98 config:97 hops:98 openflow:97 pipeline:98 plan:98 values:91
DECIDING_TESTS := tests/chain tests/config tests/hops tests/openflow tests/peers tests/pipeline \
    tests/plan tests/plugins

# How many mutants `make mutants` tries.
MUTANTS ?= 200

# Each file that says on its first line that a shell runs it.
SHELL_SHEBANG := '^\#! ?/.*[/ ](ba|da)?sh( |$$)'

.DEFAULT_GOAL := help
.PHONY: help setup install uninstall demo test test-unit coverage mutants test-pythons test-e2e test-machine test-vm check bench bench-chain bench-openflow bench-engine bench-ports fuzz storm docs goldens lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what the others need, and nothing twice (root, when Debian packages are missing)
	@$(BOOTSTRAP) setup

install: ## install on this node: programs in PREFIX, service, policies; again to bring it up to date (root)
	@$(BOOTSTRAP) install
	@packaging/install --prefix "$(PREFIX)" --destdir "$(DESTDIR)"

uninstall: ## take the node down and what `make install` put there away; keys stay (root)
	@packaging/install --prefix "$(PREFIX)" --uninstall

demo: ## watch a client reach the web through the whole tunnel, on this machine (root)
	@$(BOOTSTRAP) demo
	@$(BIN)/privacy-router lab demo

test: ## all tests: the pure ones, then the lab's (root)
	@$(BOOTSTRAP) test
	$(UNIT_TESTS)
	$(E2E_TESTS)

test-unit: ## the tests that need neither root nor network
	@$(BOOTSTRAP) test-unit
	$(UNIT_TESTS)

coverage: ## which lines and branches of what decides no pure test takes; fails below FLOORS
	@$(BOOTSTRAP) test-unit
	$(PYTEST) -n 2 $(DECIDING_TESTS) -m "not e2e and not machine" --cov --cov-report=
	@$(BIN)/coverage report; code=0; for floor in $(FLOORS); do \
	    printf '%s, at least %s %%: ' "$${floor%:*}" "$${floor#*:}"; \
	    $(BIN)/coverage report --include="src/privacy_router/$${floor%:*}/*" --format=total \
	        --precision=1 --fail-under="$${floor#*:}" || code=1; \
	done; exit $$code

mutants: ## which of MUTANTS (200) small faults in what decides the pure tests notice, by SEED (1)
	@$(BOOTSTRAP) test-unit
	$(BIN)/python -m tests.mutants --count $(MUTANTS) --seed $(or $(SEED),1)

test-pythons: ## the pure tests with Python 3.11, 3.12 and 3.13, as far as they are there
	packaging/pythons $(PURE)

test-e2e: ## the tests that build the lab (root)
	@$(BOOTSTRAP) test-e2e
	$(E2E_TESTS)

test-machine: ## the tests that need systemd and its D-Bus services, in containers of Debian 12 and 13; DEBIAN=trixie: of one release (root)
	@$(BOOTSTRAP) test-machine
	for release in $(DEBIAN); do DEBIAN=$$release tests/machine/run || exit 1; done

test-vm: ## the node on the kernel's Open vSwitch and WireGuard, in an emulated machine (root, slow)
	@$(BOOTSTRAP) test-e2e
	tests/vm/run

check: ## ruff, shellcheck, mypy --strict and the import contracts
	@$(BOOTSTRAP) check
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	git grep --untracked -lE $(SHELL_SHEBANG) | xargs $(BIN)/shellcheck
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: bench-chain bench-openflow bench-engine ## all benchmarks, against their peers; rows go to build/bench.json; BENCH_SHORT=1: each runs for seconds, judges and stores nothing (root)

bench-chain: ## the chain against one built by hand (root)
	@$(BOOTSTRAP) bench
	$(BIN)/python bench/chain.py

bench-openflow: bench-ports ## OpenFlow against ovs-ofctl and os-ken (root)
	$(BIN)/python bench/openflow.py

bench-engine: ## op-dbus with a whole node: applying, reading, memory, a thousand crashes (root)
	@$(BOOTSTRAP) bench
	$(BIN)/python bench/engine.py

bench-ports: ## how long one container among 10,000 waits for its flows, and a deleted flow (root)
	@$(BOOTSTRAP) bench
	$(BIN)/python bench/ports.py

fuzz: ## feed OpenFlow damaged messages for FUZZ_SECONDS (60); needs atheris, and says how to get it
	@$(BOOTSTRAP) test-unit
	$(BIN)/python fuzz/openflow_messages.py

storm: ## FAULTS (1000) random faults under load for SECONDS, from SEED: leaks, time to heal (root)
	@$(BOOTSTRAP) test-e2e
	$(BIN)/python -m tests.storm.storm $(if $(SEED),--seed $(SEED)) --faults $(FAULTS) \
	    --seconds $(SECONDS) $(STORM_FLAGS)

docs: ## write docs/pipeline.md, its picture and docs/modules.md anew, from what the sources say
	@$(BOOTSTRAP) check
	$(BIN)/python docs/write_pipeline.py
	$(BIN)/python docs/write_modules.py

goldens: ## write tests/golden/node anew: what each set of hops compiles to; then read git diff
	@$(BOOTSTRAP) test-unit
	$(BIN)/python -m tests.plan.goldens

lock: ## write requirements.lock anew (LOCK_FLAGS=--upgrade takes newer versions)
	@$(BOOTSTRAP) lock
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --strip-extras --allow-unsafe \
	    --generate-hashes --extra dev --all-build-deps --no-emit-index-url \
	    --no-emit-trusted-host --no-emit-find-links --no-emit-options $(LOCK_FLAGS) \
	    --output-file requirements.lock pyproject.toml
	@cat packaging/newer-pythons.lock >> requirements.lock

# A broken .venv is a reason to clean, so a failing `lab down` is told and passed over.
clean: ## stop a lab that runs, then remove .venv, build results and caches
	@if [ "$$(id -u)" -eq 0 ] && [ -x $(BIN)/privacy-router ]; then \
	    $(BIN)/privacy-router lab down --all || echo "clean: the lab could not be stopped; going on"; \
	fi
	rm -rf .coverage .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests bench packaging -name __pycache__ -type d -prune -exec rm -rf {} +
