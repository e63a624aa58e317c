# The two main commands are `make demo` and `make test`; each sets up its own virtual environment first.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# OpenMP threads that spin while they wait slow down every process that shares the cores.
export OMP_WAIT_POLICY ?= passive

.PHONY: demo test check docs format bench clean

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "auricle needs Python 3.11 or newer; try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/.installed ## pre-train on the built-in corpus, probe, write report.html
	$(BIN)/auricle demo --out runs/demo

test: $(VENV)/.installed ## run every test
	$(BIN)/pytest -n auto --maxprocesses 8 --dist loadfile

check: $(VENV)/.installed ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed ## build the documentation site into build/site; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(VENV)/.installed ## fix what lint and format can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The published chains that auricle is measured against have their own environment.
.venv-bench/.installed: pyproject.toml constraints.txt
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	touch $@

bench: .venv-bench/.installed ## measure speed and memory, as ratios in one run
	.venv-bench/bin/python benchmarks/run_all.py

clean: ## remove environments and caches (never runs/)
	rm -rf build .venv .venv-bench .pytest_cache .mypy_cache .ruff_cache
