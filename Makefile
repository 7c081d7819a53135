# Everything a newcomer or a machine types here; plain make, nothing to install first but Python and make.
# The virtual environment is built by the first target that needs it, and again when setup.cfg changes.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# In CI a skipped test is a failure: nobody reads the reasons there.
PYTEST := $(BIN)/python -m pytest $(if $(CI),-p tests.no_skips)
# Most tests wait for a process, a lease, a marketplace: three at a time take half as long, also on two cores.
# loadscope: what shares a box with a real systemd stays in one worker (tests/one_box.py).
WORKERS ?= 3
SCRIPTS := .ci/run $(wildcard *.sh deploy/*.sh deploy/lib/*.sh tests/deploy/*.sh)

.DEFAULT_GOAL := help
.PHONY: help demo remove-demo test check bench screenshot prove clean

help:  ## show this list
	@echo "make TARGET, where TARGET is one of:"
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 15
	@echo "More options:   make demo ARGS='--offers 300'   make test ARGS='-k fence'   make PYTHON=python3.12 demo"

demo: $(STAMP)  ## watch a catalogue arrive in a PostgreSQL of its own (ARGS: see syncd demo --help)
	@$(BIN)/syncd demo $(ARGS)

remove-demo: $(STAMP)  ## delete what the demo left
	@$(BIN)/syncd demo --remove $(ARGS)

test: $(STAMP)  ## run the tests (ARGS go to pytest)
	$(PYTEST) -m "not prove" -n $(WORKERS) --dist loadscope $(ARGS)

check: $(STAMP)  ## the whole gate: format, lint, types, import contracts, shell scripts, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck $(SCRIPTS)
	$(PYTEST) -m "not prove" -n $(WORKERS) --dist loadscope $(ARGS)

bench: $(STAMP)  ## measure against named peers, side by side (ARGS='--quick' for a smoke run)
	$(BIN)/python -m bench $(ARGS)

screenshot: $(STAMP)  ## take the README's picture of the status page anew (needs chromium)
	SYNCD_SCREENSHOT=$(CURDIR)/docs/status-page.png $(PYTEST) -q tests/browser -k three_states

prove: $(STAMP)  ## the long counts: kills, drifts, mutants (each has a short one among the tests)
	$(PYTEST) -m prove -v -s --timeout=7200 $(ARGS)

clean:  ## delete the virtual environments and every cache
	rm -rf $(VENV) .venv-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): $(BIN)/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[dev,embedded]'
	@touch $@

# --clear: whatever an interrupted or older attempt left is no base to build on.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "make: syncd needs Python 3.11 or newer; '$(PYTHON)' is" \
	       "$$($(PYTHON) --version 2>/dev/null || echo 'not there'). Another one: make PYTHON=python3.12 ..." >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import venv; from ensurepip import bootstrap' 2>/dev/null || { \
	  echo "make: '$(PYTHON)' cannot create virtual environments: its modules venv and ensurepip are missing." >&2; \
	  [ ! -e /etc/debian_version ] || echo "make: on Debian and Ubuntu:  apt install python3-venv" >&2; \
	  exit 1; }
	@echo "Installing into $(VENV), once (about a minute) ..."
	@$(PYTHON) -m venv --clear $(VENV)
