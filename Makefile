PYTHON ?= python3
DATA ?= ../shared/data/fer2013.zip
VOTES ?= ../shared/data/ferplus_votes.csv
MODEL ?= rep
BIN := .venv/bin

.PHONY: demo install check test train bench web
.NOTPARALLEL:

demo: .venv/light ## the light install, then faces and emotions of a real picture
	$(BIN)/mien predict src/mien/assets/portrait.jpg --save demo

install: .venv/full ## everything that training, checks and tests need

check: .venv/full
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: .venv/full
	$(BIN)/pytest -rs

web: .venv/full ## the page's runtime from npm, and dist/web, a folder that any server can host
	cd web && npm ci
	$(BIN)/python web/build.py

train: .venv/full ## a shipped model from its recipe: make train MODEL=rep or MODEL=baseline
	$(BIN)/mien train --data $(DATA) --votes $(VOTES) --recipe recipes/$(MODEL).yaml --out runs/$(MODEL) --resume

bench: .venv/full ## the figures of the README
	$(BIN)/python benchmarks/evaluate.py --data $(DATA) --votes $(VOTES)

.venv/light: requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps -e .
	touch $@

.venv/full: requirements-dev.txt .venv/light
	$(BIN)/pip install -q --disable-pip-version-check -r requirements-dev.txt
	touch $@
