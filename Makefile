# What a newcomer types: `make demo` and `make test`. Both set up what they need.
VENV := .venv
STAMP := $(VENV)/.ready

.PHONY: help setup demo test unit lint clean

help:
	@echo "make demo    set up, raise the lab, move an app between two hosts in it"
	@echo "make test    set up, then every check and test"
	@echo "make unit    the tests that need no engine"
	@echo "make lint    ruff and mypy"
	@echo "make bench-boot, bench-pack, bench-transfer: against the usual ways; docs/benchmarks.md"

setup: $(STAMP)

$(STAMP): scripts/setup.sh pyproject.toml
	@bash scripts/setup.sh $(VENV)
	@touch $@

demo: setup
	@bash scripts/demo.sh $(VENV)

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

unit: setup
	$(VENV)/bin/pytest tests/unit -q

test: lint
	$(VENV)/bin/pytest -q -m ""

clean:
	rm -rf $(VENV) dist build

# The page is made also when a bar is missed.
bench-%: setup
	$(VENV)/bin/python -m bench.$*; status=$$?; $(VENV)/bin/python -m bench.page; exit $$status
