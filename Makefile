# Targets that a newcomer would guess; `make help` lists them.

PYTHON ?= python3
BIN := .venv/bin
SOURCES := chargen corpora tests benchmarks docs

.PHONY: help install demo test soak check bench fuzz docs clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

install: .venv/installed  ## create .venv and install chargen into it

.venv/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

demo: .venv/installed  ## train for two minutes, sample, and measure how far back the model remembers
	$(BIN)/chargen train longrange --cell lstm --units 128 --minutes 2 --curriculum 16,64 --timesteps 512 --batch-size 2 --resets 0.05 --recurrent-rate 1 --out runs/demo --overwrite
	$(BIN)/chargen sample runs/demo --length 300
	$(BIN)/chargen probe-longrange runs/demo --only templates --json runs/demo/longrange.json --plot runs/demo/longrange.png --report runs/demo/longrange.html
	@echo "Report: runs/demo/longrange.html (figure longrange.png, numbers longrange.json)"

check: .venv/installed-test  ## run the linter and the type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tests.prose

test: check  ## run make check, then every test
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

.venv/installed-fuzz: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[fuzz]"
	touch $@

EACH ?= 60  # seconds

fuzz: .venv/installed-fuzz  ## fuzz the file readers, EACH=60 seconds per format
	@for kind in checkpoint weights description progress bank corpus; do \
	    mkdir -p build/fuzz/$$kind; \
	    $(BIN)/python tests/fuzz/fuzz.py $$kind -max_total_time=$(strip $(EACH)) \
	        -artifact_prefix=build/fuzz/ build/fuzz/$$kind || exit 1; \
	done

soak: .venv/installed-test  ## run the exhaustive sweeps: 200 kills, 10 GB of text, a lost host
	$(BIN)/python -m pytest -m soak
	PYTHONPATH=.:tests $(BIN)/python tests/soak/kills.py --kills 200
	$(BIN)/python -m tests.soak.large
	PYTHONPATH=.:tests $(BIN)/python tests/soak/hosts.py

bench: .venv/installed-test  ## measure speed against named baselines
	$(BIN)/python -m benchmarks

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $@

docs: .venv/installed-docs  ## generate the reference pages and build the site in build/site
	$(BIN)/python -m docs.commands
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:  ## remove everything that make created, except runs/
	rm -rf .venv build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
