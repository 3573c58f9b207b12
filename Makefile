# Everything runs in .venv, made from constraints.txt: the same versions on every machine.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt

.PHONY: help demo readme test lint format bench lessons recordings site doctor clean

help:
	@echo "make demo     train and compare on the bundled sample; writes report/report.html"
	@echo "make test     all tests"
	@echo "make lint     ruff and mypy          make format   ruff format"
	@echo "make bench    benchmarks/            make lessons  regenerate and execute the lessons"
	@echo "make site     docs/_build/html       make doctor   what this machine can do"

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

doctor: .venv/base
	$(BIN)/coursekit doctor

# What pip cannot bring, where we may install it; tests that need it are skipped elsewhere.
.venv/system: .venv/base
	@if ! command -v bwrap >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && apt-get install -qq -y bubblewrap >/dev/null || true; fi
	touch $@

test: .venv/dev .venv/system
	$(BIN)/python -m pytest -n auto --dist loadfile --cov --cov-report=term:skip-covered

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

clean:
	rm -rf .venv report docs/_build .pytest_cache .mypy_cache .ruff_cache
