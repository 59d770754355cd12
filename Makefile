# Start with `make demo` and `make test`. Both install what they need.
VENV := .venv
STAMP := $(VENV)/.ready
# A lab test spends most of its time waiting, so two processes run tests, each with a lab of its own.
# Lab tests come first, in the order of their files, and quick tests fill the gaps at the end.
SIDE_BY_SIDE := -n 2 --dist loadfile --no-loadscope-reorder
# Images of Python often set it: then every process that a test starts compiles all modules anew.
export PYTHONDONTWRITEBYTECODE =

.PHONY: help setup demo test campaign unit lint fuzz coverage docs man wheel clean

help:
	@echo "make demo       start two practice hosts and move an app between them"
	@echo "make test       run every check and test"
	@echo "make campaign   run the lab tests that make test leaves out: other hosts, other orders"
	@echo "make unit       run the tests that need no engine"
	@echo "make lint       run ruff and mypy, and check what runs on hosts for Python 3.9"
	@echo "make fuzz       feed corrupted input to every parser; SECONDS=600 SEED=number"
	@echo "make coverage, docs, man, wheel    see CONTRIBUTING.md"
	@echo
	@echo "Benchmarks (results in docs/benchmarks.md):"
	@echo "make bench-boot, bench-pack, bench-transfer   compare with the usual tools"
	@echo "make bench-several       five services in one VM, compared with Docker in a Debian VM"
	@echo "make bench-kill          kill portkit at every step of a Move"
	@echo "make bench-race          run two Moves of one app at once"
	@echo "make bench-cutover       move a running app while portkit, links, engines and hosts fail"
	@echo "make bench-journeys      move two apps with data between hosts and forms during writes"
	@echo "make bench-space         move a running app while a disk is full"
	@echo "make bench-projects      move twelve compose projects in both forms and use them"
	@echo "make bench-compat        compare the predictions of check with trials; docs/compat-truth.md"
	@echo "make bench-emulated      measure how much slower an app for arm64 is on a host for amd64"
	@echo "make bench-check         measure what check costs, and that it changes nothing on a host"
	@echo "make bench-spoilt        judge apps by spoilt files, outputs and answers of hosts"
	@echo "make bench-predictions   compare the predicted cost of Moves with the measured cost"
	@echo "make bench-downtime      measure the downtime of a container with 1 GiB, against rsync"
	@echo "make bench-live          move a VM without a stop, against virsh migrate"

setup: $(STAMP)

$(STAMP): scripts/setup.sh pyproject.toml
	@bash scripts/setup.sh $(VENV)
	@touch $@

# Packages that only tests and benchmarks need.
$(VENV)/.tests: $(STAMP)
	@bash scripts/setup.sh $(VENV) tests
	@touch $@

$(VENV)/.bench: $(STAMP)
	@bash scripts/setup.sh $(VENV) bench
	@touch $@

demo: setup
	@bash scripts/demo.sh $(VENV)

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/vermin -q -t=3.9- --violations --no-tips --eval-annotations portkit/remote portkit/wire

fuzz: setup
	$(VENV)/bin/python -m tests.fuzz.run --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED))

unit: setup
	$(VENV)/bin/pytest tests/unit -q $(SIDE_BY_SIDE)

test: lint $(VENV)/.tests
	$(VENV)/bin/pytest -q -m "not campaign" $(SIDE_BY_SIDE)

campaign: $(VENV)/.tests
	$(VENV)/bin/pytest -q -m campaign $(SIDE_BY_SIDE)

coverage: setup
	$(VENV)/bin/pytest tests/unit -q --cov --cov-report=term:skip-covered

# Build the site in site/. Its tools are installed once; the build itself needs no network.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict --quiet
	@echo "site/index.html is ready"

$(VENV)/.docs: $(STAMP)
	$(VENV)/bin/pip install -q --disable-pip-version-check -e '.[docs]'
	@touch $@

man: setup
	rm -rf build/man
	$(VENV)/bin/python -m scripts.docs.man build/man

wheel: man
	$(VENV)/bin/python -m build --wheel --no-isolation

clean:
	rm -rf $(VENV) dist build site

# Make the page even if a bar was missed.
bench-%: $(VENV)/.bench
	$(VENV)/bin/python -m bench.$*; status=$$?; $(VENV)/bin/python -m bench.page; exit $$status
