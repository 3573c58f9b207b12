# Everything runs in .venv, made from constraints.txt: the same versions on every machine.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt

.PHONY: help demo readme test coverage lint format bench lab lessons recordings site colab doctor clean

help:
	@echo "make demo     train and compare on the bundled sample; writes report/report.html"
	@echo "make test     all tests"
	@echo "make lint     ruff and mypy          make format   ruff format"
	@echo "make lab      notebooks/ in JupyterLab"
	@echo "make bench    benchmarks/            make lessons  regenerate and execute the lessons"
	@echo "make site     docs/_build/html       make doctor   what this machine can do"
	@echo "make coverage all tests, and what they reach of the kit"
	@echo "make colab    the lessons with the versions that Colab has"

.venv/base: pyproject.toml constraints.txt
	test -d .venv || $(PYTHON) -m venv .venv
	@echo "setting up .venv (a few minutes, once) ..."
	$(PIP) torch
	$(PIP) -e .
	touch $@

.venv/dev: .venv/base
	$(PIP) -e '.[dev]'
	touch $@

demo: .venv/base
	$(BIN)/coursekit demo --out report

readme: .venv/base
	$(BIN)/coursekit demo --out report
	$(BIN)/python docs/make_demo_files.py report
	$(BIN)/python docs/make_strategies_page.py

.venv/lab: .venv/base
	$(PIP) -e '.[lab]'
	touch $@

lab: .venv/lab
	$(BIN)/jupyter lab --notebook-dir notebooks

doctor: .venv/base
	$(BIN)/coursekit doctor

# What pip cannot bring, where we may install it; tests that need it are skipped elsewhere.
.venv/system: .venv/base
	@if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && \
		! { command -v bwrap && command -v chromium && ls /usr/lib/postgresql; } >/dev/null 2>&1; then \
		apt-get update -qq && \
		apt-get install -qq -y bubblewrap chromium postgresql >/dev/null || true; fi
	touch $@

SIDE_BY_SIDE := -n auto --dist loadfile --no-loadscope-reorder
PYTEST := $(BIN)/python -m pytest $(SIDE_BY_SIDE)

test: .venv/dev .venv/system
	$(PYTEST)

# What the tests reach of the kit; the processes that they start are not counted. Takes longer.
coverage: .venv/dev .venv/system
	$(PYTEST) --cov --cov-report=term:skip-covered

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/dev
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format -q .

.venv/bench: .venv/dev
	$(PIP) -e '.[dev,bench]'
	touch $@

bench: .venv/bench
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done
	$(BIN)/python docs/make_benchmark_page.py

lessons: .venv/dev
	$(BIN)/python -m coursekit.lessons.generate

recordings: .venv/dev
	$(BIN)/python -m coursekit.lessons.recordings

site: .venv/dev
	$(BIN)/sphinx-build -q -W -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# The lessons as on Colab: its versions, and on top of them what the first cell of a lesson installs.
COLAB := .venv-colab/bin
COLAB_PYTHON ?= $(shell python3.13 -c "import sys; print(sys.executable)" 2>/dev/null || echo $(PYTHON))

.venv-colab/ready: constraints-colab.txt
	test -d .venv-colab || $(COLAB_PYTHON) -m venv .venv-colab
	@echo "setting up .venv-colab (a few minutes, once) ..."
	$(COLAB)/python -m pip install -q --disable-pip-version-check -r constraints-colab.txt
	touch $@

colab: .venv-colab/ready
	$(COLAB)/python -m pip install -q --disable-pip-version-check --no-deps --force-reinstall .
	$(COLAB)/python -P -c "from coursekit.lessons.install import *; print(*install_missing(missing_packages()))"
	$(COLAB)/pytest -q $(SIDE_BY_SIDE) tests/lessons tests/checks tests/runs

clean:
	rm -rf .venv .venv-colab report docs/_build docs/lessons .pytest_cache .mypy_cache .ruff_cache
