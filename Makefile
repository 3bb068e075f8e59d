# Easel's commands. `make serve` and `make test` each work by themselves on a fresh clone. Windows: see README.md.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help setup serve test test-fast lint bench soak chaos screenshots

help:
	@echo "make serve   start Easel; the page is at http://127.0.0.1:7860"
	@echo "make test    run the tests"
	@echo "make test-fast  run those that need neither the real engine nor a browser, in some minutes"
	@echo "make lint    ruff, mypy --strict, import-linter"
	@echo "make bench   speed and memory, measured on this machine"
	@echo "make soak    long runs that look for leaks"
	@echo "make chaos   long runs of kills at random moments"
	@echo "make screenshots  the pictures of README.md and the docs, in docs/images"
	@echo "make setup   only make .venv (the others do it when needed)"

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt tools/setup.py
	@command -v $(PYTHON) >/dev/null || { echo "easel set-up: no $(PYTHON) found; install Python 3.11 or newer and try again."; exit 1; }
	@$(PYTHON) tools/setup.py

serve: setup
	@exec $(BIN)/easel serve

# Two workers: the tests start real engines, and each of those is busy on its own. In order: the long ones come first, so
# that no worker waits for them at the end.
test: setup
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

# Without real engines, whole services and long searches for a counterexample.
test-fast: setup
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder \
	    -m "not slow and not browser and not bench and not soak and not chaos"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/pytest tests/bench -m "bench" --benchmark-enable --benchmark-only -s

soak: setup
	$(BIN)/pytest tests -m "soak" --timeout 3600 -s

chaos: setup
	$(BIN)/pytest tests -m "chaos" --timeout 3600 -s

screenshots: setup
	$(BIN)/python tools/docs_images.py
