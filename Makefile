# Two commands on a fresh machine: `make demo` and `make test`. Both create .venv on first use only.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench fuzz clean

# A stamp per installed set, renewed only when the dependencies change; the install is editable.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-test: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $(VENV)/.installed $@

demo: $(VENV)/.installed
	$(BIN)/iid-cl run split_digits.yaml

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -n 2

# Speed, on this machine: a quarter of an hour on two cores. Accuracy and GPUs: see benchmarks/.
bench: $(VENV)/.installed-test
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.startup

# Ten thousand bad inputs: none may end in a traceback, hang, or change a file. Some ten minutes.
fuzz: $(VENV)/.installed-test
	$(BIN)/python -m benchmarks.fuzz

clean:
	rm -rf $(VENV) build dist *.egg-info
