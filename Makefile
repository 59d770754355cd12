# What a newcomer types: `make demo` and `make test`. Both set up what they need.
VENV := .venv
STAMP := $(VENV)/.ready
# A lab test waits most of the time; each of the two processes has a lab of its own. Those come
# first, in the order of their files: the quick ones fill up the end.
SIDE_BY_SIDE := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help setup demo test campaign unit lint fuzz coverage docs man wheel clean

help:
	@echo "make demo    set up, raise the lab, move an app between two hosts in it"
	@echo "make test    set up, then every check and test"
	@echo "make campaign  the lab tests that make test leaves out: other hosts, other orders"
	@echo "make unit    the tests that need no engine"
	@echo "make lint    ruff, mypy, and Python 3.9 for what runs on hosts"
	@echo "make fuzz    spoilt input for all readers; SECONDS=600 SEED=number"
	@echo "make coverage, docs, man, wheel: see CONTRIBUTING.md"
	@echo "make bench-boot, bench-pack, bench-transfer: against the usual ways; docs/benchmarks.md"
	@echo "make bench-several: five services in one VM, against Docker in an ordinary one"
	@echo "make bench-kill, bench-race: portkit killed at every step, two Moves at once"
	@echo "make bench-cutover: a running App moved while portkit, links, engines and hosts fail"
	@echo "make bench-journeys: two apps with data change hosts and forms while they are written to"
	@echo "make bench-space: a running App moved while a disk is full"
	@echo "make bench-projects: twelve compose projects, moved in both forms and used"
	@echo "make bench-compat: the truth table of check, predicted and tried; docs/compat-truth.md"
	@echo "make bench-check: what check costs, and that it changes nothing on a host"
	@echo "make bench-predictions: what Moves were predicted to cost, beside what they cost"
	@echo "make bench-downtime: a container with a volume of 1 GiB changes its host, against rsync"
	@echo "make bench-live: a VM moves without a stop, against virsh migrate"

setup: $(STAMP)

$(STAMP): scripts/setup.sh pyproject.toml
	@bash scripts/setup.sh $(VENV)
	@touch $@

# What only tests and benchmarks need.
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

# The site, in site/. Its tools are installed once; the build itself needs no network.
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

# The page is made also when a bar is missed.
bench-%: $(VENV)/.bench
	$(VENV)/bin/python -m bench.$*; status=$$?; $(VENV)/bin/python -m bench.page; exit $$status
