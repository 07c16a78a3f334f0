# make demo and make test need Python 3.11 or later and a network; everything else they fetch themselves.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.from-uv-lock
PYTEST_ARGS ?=
# Most scenarios wait rather than compute.
WORKERS ?= 4
LINT := $(MAKE) --no-print-directory lint

define CAN_MAKE_VENV
import sys
if sys.version_info < (3, 11):
    sys.exit("Python 3.11 or later is needed, not %d.%d: make PYTHON=…" % sys.version_info[:2])
try:
    import ensurepip, venv
except ImportError as error:
    sys.exit("%s cannot make an environment, since it has no %s: install uv, or the rest of this Python "
        "(on Debian and Ubuntu: apt install python3-venv), or choose another: make PYTHON=…"
        % (sys.executable, error.name))
endef
export CAN_MAKE_VENV

.PHONY: setup demo test test-full lint format docs bench-router bench-router-more bench-monitor bench-score bench-split bench-rollback bench-aa bench-rows bench-decision clean

setup: $(STAMP)

# uv where it is there, else one in the environment itself, which --inexact then keeps. Half an environment is made anew.
$(STAMP): pyproject.toml uv.lock
	@if uv --version >/dev/null 2>&1; then \
		uv=uv; $(BIN)/python -c '' 2>/dev/null || rm -rf .venv; \
	else \
		uv=$(BIN)/uv; $(PYTHON) -c "$$CAN_MAKE_VENV" \
		&& { $(BIN)/python -m pip --version >/dev/null 2>&1 \
			|| $(PYTHON) -m venv --clear .venv || { rm -rf .venv; false; }; } \
		&& $(BIN)/python -m pip install --quiet uv; \
	fi && $$uv sync --frozen --inexact --extra dev
	@touch $@

demo: setup
	@$(BIN)/stream-router demo

# exec: pytest ends with make itself, however that ends.
test: setup
	@exec $(BIN)/pytest --numprocesses=$(WORKERS) --dist=loadgroup --no-loadscope-reorder --beside="$(LINT)" $(PYTEST_ARGS)

# With what takes too long for each change.
test-full: PYTEST_ARGS += -m "full or not full"
test-full: test

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: setup
	$(BIN)/python docs/generate.py

bench-router: setup
	@$(BIN)/python benchmarks/router.py --write

# One after the other: each needs the machine for itself.
bench-router-more: setup
	@for name in latency memory scaling idle assignment; do $(BIN)/python benchmarks/$$name.py --write || exit 1; done

bench-monitor: setup
	@for name in '' _scaling _memory _return _idle; do $(BIN)/python benchmarks/monitor$$name.py --write || exit 1; done

bench-score: setup
	@$(BIN)/python benchmarks/scoring.py --write

bench-split: setup
	@$(BIN)/python benchmarks/split.py --write

bench-rollback: setup
	@$(BIN)/python benchmarks/rollback.py --write

bench-aa: setup
	@$(BIN)/python benchmarks/aa.py --write

bench-rows: setup
	@$(BIN)/python benchmarks/rows.py --write

bench-decision: setup
	@$(BIN)/python benchmarks/decision_plot.py
	@$(BIN)/python benchmarks/decision.py --runs 8000 --write

clean:
	@if test -x $(BIN)/stream-router; then $(BIN)/stream-router local down; fi
	rm -rf .venv .stream-router dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
