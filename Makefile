# `make demo` and `make test` set up the environment; they need Python 3.11 or newer, make and a package index.

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# pip does not compile editable installs: with read-only sources, Python would compile them at each start, for 0.2 s
COMPILE := $(BIN)/python -m compileall -q core llmtui
BENCHMARKS := startup screen data bpe training growth overhead journal prediction quality sampling

# the first Python of version 3.11 or newer; `make PYTHON=/path/to/python3` takes another
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$python; break; fi; done)

.PHONY: demo check cluster static test interop bench clean

demo: .venv/installed
	@$(BIN)/llmtui demo

# Five workers for two cores: tests of the screen wait for two thirds of their time, others for a process. Bytecode is
# written even if the environment says otherwise: without it each worker compiles all tests at every start, for 7 s.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --dist worksteal
LM_EVAL := .venv/lm-eval/bin/python
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

# the quick tests, which start no processes, for use between edits
check: .venv/installed-test static
	$(PYTEST) -n $(shell expr $(CORES) \* 3 / 2) --quick

test: .venv/installed-test static
	$(PYTEST) -n $(shell expr $(CORES) \* 5 / 2)

# what other programs make of exports; installing them compiles llama.cpp, which takes ten minutes: without its image
# models, and without instructions that a virtual machine may report and not have
.venv/installed-interop: export CMAKE_ARGS ?= -DLLAVA_BUILD=OFF -DGGML_NATIVE=OFF
interop: .venv/installed-interop $(LM_EVAL)
	LM_EVAL_PYTHON="$(CURDIR)/$(LM_EVAL)" $(PYTEST) -m interop tests/interop

# lm-eval needs a chardet below 7, llmtui 7.7: an environment of its own, which sees torch and transformers of .venv
$(LM_EVAL): | .venv/installed-interop
	@echo "installing lm-eval into .venv/lm-eval" >&2
	@rm -rf .venv/lm-eval .venv/lm-eval.new
	@$(BIN)/python -m venv .venv/lm-eval.new
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		>"$$(echo .venv/lm-eval.new/lib/python*/site-packages)/shared.pth"
	@.venv/lm-eval.new/bin/python -m pip install --quiet --disable-pip-version-check 'lm-eval[hf]>=0.4.9' 'chardet<7'
	@mv .venv/lm-eval.new .venv/lm-eval

# sshd on two addresses and a Slurm of one node, set up as root on Debian or Ubuntu; takes some ten minutes
cluster: .venv/installed-test
	tests/cluster/setup.sh
	$(PYTEST) -m cluster; code=$$?; tests/cluster/setup.sh stop; exit $$code

static: .venv/installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/installed-bench
	@failed=0; for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name || failed=1; done; exit $$failed

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# these files are newer than pyproject.toml if and only if its dependencies are installed
.venv/installed: pyproject.toml | $(BIN)/python
	@echo "installing llmtui and its dependencies into .venv; the first time this takes some minutes" >&2
	@$(PIP) --editable .
	@$(COMPILE)
	@touch $@

.venv/installed-test .venv/installed-bench .venv/installed-interop: .venv/installed-%: pyproject.toml | $(BIN)/python
	@echo "installing llmtui, its dependencies and those of 'make $*' into .venv" >&2
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
