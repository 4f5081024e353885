# make setup | demo | test | lint | bench | clean
#
# Everything happens in .venv, which is made on first use and left alone while it is up to date. `uv` is used where it
# is present. PYTHON=python3.12 picks an interpreter, ARGS="-k pgd" is handed to pytest.

SHELL := /bin/bash

# Bytecode is kept whatever the environment says: without it every process of the tests compiles PyTorch's sources anew,
# which takes it seconds.
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv
PY := $(VENV)/bin/python
PYTHON ?=
ARGS ?=

# Each stamp says that this much is installed, with the pyproject.toml and constraints.txt of that time.
CORE := $(VENV)/.core
DEV := $(VENV)/.dev
BENCH := $(VENV)/.bench

ifneq ($(shell command -v uv),)
CREATE = uv venv --quiet --allow-existing $(if $(PYTHON),--python $(PYTHON),--python '>=3.11') $(VENV)
INSTALL := uv pip install --quiet --python $(PY) --constraint constraints.txt
else
CREATE = found=; for candidate in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python); do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo "make: Stalwart needs Python 3.11 or later and found none. Install it, or name it: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; fi; \
	"$$found" -m venv $(VENV) || { rm -rf $(VENV); echo "make: $$found cannot make a virtual environment. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
INSTALL := $(PY) -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt
endif

.PHONY: help setup demo test lint bench clean

help:
	@echo "make setup   make or update .venv with everything that tests and linters need"
	@echo "make demo    install what the product needs, then run 'stalwart demo'"
	@echo "make test    run the tests        (ARGS='-k pgd' picks some)"
	@echo "make lint    ruff, mypy --strict and the floors"
	@echo "make bench   run the benchmarks   (long)"
	@echo "make clean   remove .venv and caches; runs/ stays"

setup: $(DEV)

$(PY):
	@$(CREATE)

$(CORE): pyproject.toml constraints.txt | $(PY)
	@echo "Installing Stalwart into $(VENV) (PyTorch is large: a few minutes the first time) ..."
	@$(INSTALL) -e .
	@touch $@

# torchattacks asks for requests 2.25 of 2020, which it does not need: it goes in without its dependencies, all of which
# are here already.
$(DEV): $(CORE)
	@echo "Installing what tests and linters need ..."
	@$(INSTALL) -e '.[test,lint]'
	@$(INSTALL) --no-deps torchattacks
	@touch $@

$(BENCH): $(DEV)
	@$(INSTALL) -e '.[bench]'
	@touch $@

demo: $(CORE)
	$(VENV)/bin/stalwart demo

# One thread to a worker: two workers with as many threads as cores each would only wait for one another.
test: $(DEV)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --dist loadfile $(ARGS)

lint: $(DEV)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache

bench: $(BENCH)
	@for file in benchmarks/[a-z]*.py; do echo "== $$file"; $(PY) "$$file" || exit 1; done

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
