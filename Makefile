# Everything a developer or CI runs. `make demo` needs Python, git and make only: it makes a virtual
# environment in .venv and installs skcyto into it. All else installs the tools for development too,
# pyradiomics among them, which is built from source by a C compiler.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Two workers with one BLAS thread each: tests are many and small.
WORKERS ?= 2
export OMP_NUM_THREADS ?= 1
export MPLBACKEND ?= Agg
# The examples go on with random weights at once instead of waiting for a model hub.
OFFLINE := HF_HUB_OFFLINE=1

.PHONY: help demo test test-slow test-gpu check check-lower-bounds lint types contracts docs examples install clean

help:
	@echo "make demo       install, run the main job on images, show the result and its plots"
	@echo "make test       install and run the tests"
	@echo "make check      everything CI runs: lint, types, contracts, tests, docs, examples"
	@echo "make test-slow  the tests that take long; make test-gpu: those that need a GPU"

$(VENV)/installed-plain: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(VENV)/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $(VENV)/installed-plain $@

install: $(VENV)/installed

demo: $(VENV)/installed-plain
	$(BIN)/python examples/quickstart.py --output output/quickstart

test: install
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow and not gpu"

test-slow: install
	$(BIN)/python -m pytest -n $(WORKERS) -m "slow and not gpu"

test-gpu: install
	$(BIN)/python -m pytest -m gpu

check: lint types contracts test docs examples

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: install
	$(BIN)/mypy

contracts: install
	$(BIN)/lint-imports

docs: install
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

# Each example that needs no data has a setting that finishes in a minute or so; results go to
# output/.
SMOKE := quickstart ted_loss_comparison ted_tables tokens_and_radiomics ps3c_table1
examples: install $(SMOKE:%=example-%)

example-%: install
	$(OFFLINE) $(BIN)/python examples/$*.py --smoke --output output/smoke/$*

# The lower bounds of pyproject.toml, installed as they stand.
check-lower-bounds:
	$(PYTHON) -m venv .env-lower-bounds
	.env-lower-bounds/bin/python -m pip install --quiet uv
	.env-lower-bounds/bin/uv pip install --quiet --python .env-lower-bounds/bin/python --resolution lowest-direct -e ".[dev]"
	.env-lower-bounds/bin/python -m pytest -n $(WORKERS) -m "not slow and not gpu" -W default

clean:
	rm -rf $(VENV) .env-lower-bounds output docs/_build docs/api/generated
