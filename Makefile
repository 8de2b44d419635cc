# `make demo` and `make test` do all the set-up: they need Python 3.11 or newer, make and a package index.

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# as pip does for all that it installs but this: where Python may not write, it would compile 0.2 s at each start
COMPILE := $(BIN)/python -m compileall -q core llmtui
BENCHMARKS := startup screen data bpe training growth overhead journal prediction quality sampling

# the first Python that is new enough; `make PYTHON=/path/to/python3` takes another
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$python; break; fi; done)

.PHONY: demo check static test bench clean

demo: .venv/installed
	@$(BIN)/llmtui demo

# as many tests at once as there are cores; those of a file stay together while there is enough to do for everybody
PYTEST := $(BIN)/pytest -n logical --dist worksteal

# what needs no process beside the tests' own: for between two edits
check: .venv/installed-test static
	$(PYTEST) --no-processes

test: .venv/installed-test static
	$(PYTEST)

static: .venv/installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/installed-bench
	@failed=0; for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name || failed=1; done; exit $$failed

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# the stamps are newer than pyproject.toml exactly when what it asks for is installed
.venv/installed: pyproject.toml | $(BIN)/python
	@echo "installing llmtui and what it needs into .venv; the first time this takes some minutes" >&2
	@$(PIP) --editable .
	@$(COMPILE)
	@touch $@

.venv/installed-test .venv/installed-bench: .venv/installed-%: pyproject.toml | $(BIN)/python
	@echo "installing llmtui, what it needs and what 'make $*' needs into .venv" >&2
	@$(PIP) --editable '.[test,$*]'
	@$(COMPILE)
	@touch .venv/installed $@

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "llmtui needs Python 3.11 or newer, but finds $$(python3 --version 2>&1 || true);" >&2; \
		echo "install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; fi
	@if ! $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null; then \
		echo "this Python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; fi
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }
