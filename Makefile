# Two commands do everything on a fresh machine that has only Python (3.11 or newer):
#   make demo   install into .venv, run the main job on the embedded default, print tables, name the figures
#   make test   install what tests need and run all of them (those that need an inference server skip without one)
# While working: make quick, the tests without servers and long runs; make perf, the benchmarks' tables; make perf-engines,
# those with real inference servers, half an hour on a machine that does nothing else.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test quick lint perf perf-engines clean

$(VENV)/.local: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[local]'
	touch $@

$(VENV)/.test: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[local,ray,test]'
	touch $@ $(VENV)/.local

demo: $(VENV)/.local
	$(BIN)/extrap-eval demo

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest -n 2 -m 'not perf and not engine'
	$(BIN)/pytest -m 'engine and not perf'

quick: $(VENV)/.test
	$(BIN)/pytest -q -n auto -m 'not perf and not engine and not slow'

perf: $(VENV)/.test
	$(BIN)/pytest -m 'perf and not engine' -s tests/perf

perf-engines: $(VENV)/.test
	$(BIN)/pytest -m 'perf and engine' -s tests/perf

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-run
