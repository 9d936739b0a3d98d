# make demo   the whole pipeline on generated battles: needs python3 >= 3.11 and nothing else
# make test   the tests that take at most a few seconds each; make test-slow runs the others
# CONTRIBUTING.md lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALL := $(PIP) install --constraint constraints.txt --editable

.PHONY: demo test test-slow lint docs site clean

$(VENV)/core: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) .
	touch $@

# Dependency groups need pip 25.1 or newer; a new environment of Python 3.11 has an older one.
$(VENV)/pip: $(VENV)/core
	$(PIP) install 'pip>=25.1'
	touch $@

$(VENV)/dev: $(VENV)/pip
	$(INSTALL) . --group dev
	touch $@

$(VENV)/lm: $(VENV)/dev
	$(INSTALL) '.[lm,mlflow]' --group dev --group lm-test
	touch $@

$(VENV)/docs: $(VENV)/pip
	$(INSTALL) . --group docs
	touch $@

demo: $(VENV)/core
	$(BIN)/ensemble demo --directory runs/demo

# Tests of language models are skipped where torch is absent; make lint or test-slow installs it.
test: $(VENV)/dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-slow: $(VENV)/lm
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

lint: $(VENV)/lm
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

docs: $(VENV)/dev
	$(BIN)/python docs/generate.py

# The docs as pages to open in a browser, offline: site/index.html.
site: $(VENV)/docs
	rm -rf site
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --doctree-dir build/doctrees --fresh-env docs site

clean:
	rm -rf $(VENV) runs build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis
