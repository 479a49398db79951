# Everything a developer or CI runs. `make demo` needs Python, git and make only: it makes a virtual
# environment in .venv and installs skcyto into it. All else installs the tools for development too,
# pyradiomics among them, which is built from source by a C compiler.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
# Two workers with one BLAS thread each: tests are many and small.
WORKERS ?= 2
export OMP_NUM_THREADS ?= 1
export MPLBACKEND ?= Agg
# The examples go on with random weights at once instead of waiting for a model hub.
OFFLINE := HF_HUB_OFFLINE=1

# Where results depend on the kernels of BLAS, torch and numpy.
NUMERIC := tests/feature_selection tests/losses tests/metrics tests/neural_network \
	tests/model_selection/statistics \
	tests/feature_extraction/radiomics/test_radiomics_values.py
# What tells within a minute or two whether a Python will do.
FAST := tests/test_package.py tests/losses tests/metrics \
	tests/model_selection/statistics \
	tests/model_selection/search/test_storage.py tests/persistence/test_save_and_load.py

.PHONY: help demo test test-slow test-gpu coverage mutation test-kernels test-pythons test-newest-python check \
	check-lower-bounds lint types contracts docs examples \
	build test-wheel check-tag changelog install clean

help:
	@echo "make demo       install, run the main job on images, show the result and its plots"
	@echo "make test       install and run the tests"
	@echo "make check      everything CI runs: lint, types, contracts, tests, docs, examples"
	@echo "make test-slow  the tests that take long; make test-gpu: those that need a GPU"
	@echo "make coverage   lines and branches the tests reach; make mutation: faults they notice"
	@echo "make test-kernels  the numeric tests under the kernels that other processors have"
	@echo "make build      wheel and source distribution; make test-wheel: tries the wheel as a user"
	@echo "make test-pythons  the tests on each supported Python found here, 7 GB of disk each"

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

# Lines and branches that the tests reach, by folder, in benchmarks/results/coverage.md. Of what
# remains, `coverage report --show-missing` names each line. Tests of one folder: TESTS=tests/metrics.
TESTS ?= tests skcyto
coverage: install
	$(BIN)/python -m coverage erase
	$(BIN)/python -m pytest -n $(WORKERS) -m "not gpu" --cov --cov-report=json:output/coverage.json $(TESTS)
	$(BIN)/python tools/coverage_table.py output/coverage.json

# Small faults in the numeric code that its tests must notice, in benchmarks/results/mutation.md;
# with PACKAGES=losses, of one package, and SAMPLE=20 for as many a module. Needs a system with fork.
PACKAGES ?=
SAMPLE ?= 0
mutation: install
	$(BIN)/python tools/mutation.py --sample $(SAMPLE) $(PACKAGES)

# KERNELS="baseline threads" runs these only; see tools/test_kernels.sh.
KERNELS ?= own baseline avx2 threads
test-kernels: install
	TEST_PYTHON=$(BIN)/python WORKERS=$(WORKERS) tools/test_kernels.sh "$(KERNELS)" $(NUMERIC)

# The Python of .venv is left out, since `make test` runs it; PYTHONS=--all runs it, too.
PYTHONS ?=
test-pythons:
	$(PYTHON) tools/test_pythons.py --venv $(VENV) --workers $(WORKERS) $(PYTHONS)

test-newest-python:
	$(PYTHON) tools/test_pythons.py --venv $(VENV) --workers $(WORKERS) --newest $(FAST)

check: lint types contracts test docs examples

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell

types: install
	$(BIN)/mypy

contracts: install
	$(BIN)/lint-imports

docs: install
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	$(BIN)/python tools/check_site.py docs/_build/html

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

# Wheel and source distribution in dist/, as they go to the package index.
build: install
	rm -rf build dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python tools/check_distributions.py dist

# A user's environment: the wheel alone, in an empty folder, and the README's lines. -I keeps the
# checkout off the path.
test-wheel: build
	rm -rf .env-wheel
	$(PYTHON) -m venv .env-wheel
	.env-wheel/bin/python -m pip install --quiet dist/*.whl
	mkdir .env-wheel/try
	cd .env-wheel/try && ../bin/python -I $(CURDIR)/tools/try_wheel.py $(CURDIR)/README.md

# A tag that is not the version's would publish under a wrong name.
check-tag:
	test "$(TAG)" = "v$$(sed -n 's/^__version__ = "\([^"]*\)".*/\1/p' skcyto/__init__.py)"

# The fragments of changelog.d/ as the next release would show them.
changelog: install
	$(BIN)/python -m towncrier build --draft --version next

clean:
	rm -rf $(VENV) .env-lower-bounds .env-python-* .env-wheel build dist output docs/_build docs/api/generated docs/gallery docs/_generated
