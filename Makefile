# `make demo` and `make test` are all that is needed. Each sets up .venv by itself from Python 3.11+.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# What is imported is compiled once and kept, whatever the environment says: without that, each of the many processes of
# the tests compiles torch anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-browser chromium thorough budgets lint ruff mypy import-contract javascript imports experiments pages clean

demo: $(STAMP)
	$(BIN)/prune-heads run --curve --score-examples 2000 --output demo/run --overwrite
	$(BIN)/prune-heads ablate --split validation_matched --max-examples 200 --output demo/ablate --overwrite
	$(BIN)/prune-heads report demo/run demo/ablate --output demo/page.html --overwrite

# All tests; `pytest` alone leaves out those marked slow. Both take two workers, see tests/conftest.py.
test: $(STAMP)
	$(MAKE) --no-print-directory --jobs 2 --output-sync mypy import-contract javascript ruff imports
	$(BIN)/pytest -m "not thorough"

# The page of `prune-heads report` in a real browser: Debian's chromium, which is installed if it is not there.
test-browser: $(STAMP) chromium
	$(BIN)/pytest -m browser

chromium:
	@command -v chromium > /dev/null || { sudo=$$(command -v sudo || true); \
	  $$sudo apt-get update -qq && $$sudo apt-get install -qq --no-install-recommends chromium > /dev/null; }

# What takes too long for every change: all model types and their variants, long simulations. The types also with the
# oldest transformers that pyproject.toml takes and with the newest there is, whose warnings are not ours.
thorough: $(STAMP) .venv-oldest/.installed .venv-newest/.installed
	$(BIN)/pytest -m thorough
	for age in oldest newest; do \
	  .venv-$$age/bin/pytest --numprocesses 2 -W default -m thorough tests/test_coverage.py || exit 1; \
	done

# Lines, imports and times, each with its limit.
budgets: $(STAMP)
	$(BIN)/python -m tests.budgets

lint: $(STAMP)
	$(MAKE) --no-print-directory --jobs 2 --output-sync mypy import-contract javascript ruff

mypy import-contract ruff imports: $(STAMP)
mypy:
	$(BIN)/mypy
import-contract:
	$(BIN)/lint-imports
# The script of the page, if node is there and its registry answers.
javascript:
	@tsc="npx --yes --package typescript@5.9.3 tsc"; \
	if $$tsc --version > /dev/null 2>&1; then $$tsc --project tests/browser; \
	else echo "no node: the types of the page's script are not checked"; fi
ruff:
	$(BIN)/ruff check
	$(BIN)/ruff format --check
# What the tests import is compiled while mypy works: once, where each of the two workers would do it for itself.
imports:
	@$(BIN)/pytest --collect-only -qq > .venv/.collected || { cat .venv/.collected; exit 1; }

# Each experiments/COMMAND/X.toml makes results/X; needs the data and models that the files name. Sweeps come last, for
# they use models that are fine-tuned before; their trials stay in results/scratch/X.
experiments: $(STAMP)
	for file in $(filter-out experiments/sweep/% experiments/michel2019/%,$(wildcard experiments/*/*.toml)); do \
	  $(BIN)/prune-heads $$(basename $$(dirname $$file)) --config $$file \
	    --output results/$$(basename $$file .toml) || exit 1; \
	done
	$(BIN)/prune-heads reproduce all --config experiments/michel2019 --output results/michel2019 --jobs 2
	for file in experiments/sweep/*.toml; do \
	  name=$$(basename $$file .toml); trials=results/scratch/$$name; \
	  $(BIN)/prune-heads sweep run $$file --output $$trials --jobs 2 && \
	  $(BIN)/prune-heads sweep results $$trials --output results/$$name && \
	  $(BIN)/prune-heads sweep plot $$trials --output results/$$name || exit 1; \
	done

	$(MAKE) --no-print-directory pages

# One page a model, of the results that are there. Those of GLUE are made without the texts in examples.json, which are
# not ours to publish.
pages: $(STAMP)
	$(BIN)/prune-heads report $(addprefix results/,mini-without-one mini-curve mini-criteria mini-roles mini-similar \
	  mini-pairs look-mini-pair) --output results/pages/mini.html --overwrite
	for task in sst2 mnli cola; do \
	  rm -f results/$$task-*/examples.json; \
	  $(BIN)/prune-heads report $$(for kind in heads without-one only-one curve criteria roles similar pairs; do \
	    ls -d results/$$task-$$kind 2> /dev/null; done) results/look-$$task \
	    --output results/pages/$$task.html --overwrite || exit 1; \
	done

# torch goes first: with it installed at its pin, nothing else can draw in another build. Of the 20,000 modules that are
# installed few are imported; they are compiled then, which is a minute less than compiling all of them now.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt torch
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv-oldest/.installed: TRANSFORMERS = $(shell sed -n 's/.*"transformers>=\(.*\)".*/==\1/p' pyproject.toml)
.venv-%/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --constraint constraints.txt torch
	$(@D)/bin/pip install --quiet --upgrade --editable . pytest pytest-xdist "transformers$(TRANSFORMERS)"
	touch $@

clean:
	rm -rf .venv .venv-oldest .venv-newest build *.egg-info
