# Each target does all of its own set-up: a virtual environment, the package, then the job.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUNS ?= runs

.PHONY: quickstart test test-slow lint format clean help

help:
	@echo "make quickstart  train on generated clips and compare miners (3 to 4 minutes after installation)"
	@echo "make test        lint, types and tests"
	@echo "make test-slow   the tests that take minutes"

$(VENV)/.package: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "cprspec needs Python 3.11 or newer; name one with make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "installing cprspec into $(VENV), PyTorch with it: a few minutes the first time, without a word"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.tests: $(VENV)/.package
	@echo "installing what tests need into $(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

quickstart: $(VENV)/.package
	$(BIN)/cprspec run experiments/quickstart*.toml --runs $(RUNS)

# Two processes, one thread each: a file's tests stay together, since they share what they make.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(VENV)/.tests
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.tests
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
