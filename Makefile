# Everything sets itself up in .venv; nothing else is needed than Python 3.11 or later.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: workbench demo test lint clean

workbench: $(VENV)/.workbench   ## the apps in your browser; the demo is made first, if runs/ has none
	@test -f runs/demo/study/final_best_train_vs_leaderboard/leaderboard_eval.json || $(BIN)/milbench demo --out runs/demo
	$(BIN)/milbench serve runs

demo: $(VENV)/.chem   ## the whole way on 600 molecules, in runs/demo
	$(BIN)/milbench demo --out runs/demo

test: $(VENV)/.dev    ## the fast tests, on every core
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: $(VENV)/.dev    ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.%: pyproject.toml | $(BIN)/python
	@echo 'installing into $(VENV): some minutes'
	$(BIN)/pip install -q -e '.[$*]'
	touch $@

clean:                ## remove the environment; runs/ stays
	rm -rf $(VENV)
