# Every target needs only python3: the first one makes .venv and installs what it needs.
# `make PYTHON=/path/to/python3` chooses the interpreter.

VENV := .venv
BIN := $(VENV)/bin
export PYTHON

.DEFAULT_GOAL := help
.PHONY: bench bench-peers clean demo docs docs-check help lint map readme smoke test

demo: $(VENV)/.installed  ## train a network on real handwritten digits and write a report
	$(BIN)/ranvier train digits

test: $(VENV)/.installed-dev  ## everything: lint, docs-check and the whole test suite
	scripts/test

smoke: $(VENV)/.installed-dev  ## the fast tests, in less than a minute
	$(BIN)/python -m pytest -m smoke

lint: $(VENV)/.installed-dev  ## style (ruff), formatting and types (mypy)
	scripts/lint

docs-check: $(VENV)/.installed-dev  ## run every example in README, docs and docstrings
	$(BIN)/python scripts/docs_check.py

docs: $(VENV)/.installed  ## rewrite what the documentation takes from the code: reference, switches, measurements
	$(BIN)/python scripts/update_docs.py

bench: $(VENV)/.installed-dev  ## measure side by side with the peers that are installed; writes benchmarks/results.md
	$(BIN)/python -m benchmarks

bench-peers: $(VENV)/.installed-bench  ## install the peers that bench measures against (large)

map: $(VENV)/.installed  ## rewrite the list of files in docs/architecture.md
	$(BIN)/python scripts/update_map.py

readme: $(VENV)/.installed  ## run the demo and copy what it prints into both READMEs
	$(BIN)/python scripts/update_readme.py

clean:  ## remove .venv, caches and build results (keeps runs/)
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -maxdepth 2 -name '*.egg-info' -type d -prune -exec rm -rf {} +

help:  ## this list
	@echo "Ranvier. Targets:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | while IFS='|' read -r name text; do printf '%-14s %s\n' "$$name" "$$text"; done

$(VENV)/.installed: pyproject.toml scripts/setup
	scripts/setup

$(VENV)/.installed-dev: pyproject.toml scripts/setup
	scripts/setup dev

$(VENV)/.installed-bench: pyproject.toml scripts/setup
	scripts/setup bench
