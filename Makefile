# Two commands on a fresh machine: `make demo` and `make test`. Both create .venv on first use only.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
EXTRAS := dev,docs

.PHONY: demo test test-oldest lint docs bench fuzz crashtest constraints clean

# A stamp per installed set, renewed only when the dependencies change; the install is editable. Versions are the tested
# ones of constraints.txt. TORCH_INDEX names an index that torch and torchvision, which have to fit, both come from.
TORCH_INDEX ?=
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
TORCH_PAIR := $(if $(TORCH_INDEX),$(INSTALL) --no-deps --index-url $(TORCH_INDEX) torch torchvision)

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(TORCH_PAIR)
	$(INSTALL) --editable '.[avalanche]'
	touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(TORCH_PAIR)
	$(INSTALL) --editable '.[test]'
	touch $(VENV)/.installed $@

# A second environment of 6 GB, with the oldest versions that pyproject.toml allows.
.venv-oldest/.installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --constraint constraints-oldest.txt --editable '.[test]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/iid-cl run split_digits.yaml

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -n 2

test-oldest: .venv-oldest/.installed
	.venv-oldest/bin/python -m pytest -n 2

# The documentation into site/; a warning or a broken link is an error.
docs: $(VENV)/.installed-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Speed, on this machine: a quarter of an hour on two cores. Accuracy and GPUs: see benchmarks/.
bench: $(VENV)/.installed-test
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.waiting

# The tested versions, anew: what a fresh environment gets of everything that any extra needs. Run it after a change of
# dependencies, then the tests.
constraints:
	rm -rf .venv-constraints
	$(PYTHON) -m venv .venv-constraints
	.venv-constraints/bin/python -m pip install --quiet --editable '.[$(EXTRAS)]'
	echo '# The versions that the suite passes with; made by `make constraints`, not by hand.' > constraints.txt
	.venv-constraints/bin/python -m pip freeze --all --exclude pip --exclude-editable >> constraints.txt
	rm -rf .venv-constraints
# Twenty thousand bad inputs: none may end in a traceback, hang, take over 4 GiB, or change a file. Half an hour.
fuzz: $(VENV)/.installed-test
	$(BIN)/python -m tests.hardening.fuzz

clean:
	rm -rf $(VENV) .venv-oldest build site dist *.egg-info

# Runs killed at random moments, and in their first and last second: each has to end as if nothing had happened, with
# its report. A quarter of an hour on two cores.
crashtest: $(VENV)/.installed-test
	$(BIN)/python -m tests.hardening.crashtest
