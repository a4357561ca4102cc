PYTHON ?= python3
DATA ?= ../shared/data/fer2013.zip
VOTES ?= ../shared/data/ferplus_votes.csv
MODEL ?= rep
BIN := .venv/bin
RUNTIME := web/node_modules/.package-lock.json

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

test: .venv/full ## those of the web page too, where npm and chromium are there
	@if ! command -v npm > /dev/null; then echo "no npm: the web page is not built"; \
	elif $(MAKE) $(RUNTIME); then $(MAKE) web; else echo "npm fetched nothing: the web page is not built"; fi
	$(BIN)/pytest -rs

web: .venv/full $(RUNTIME) ## the page's runtime and models, and dist/web, a folder that any server can host
	$(BIN)/python web/build.py

$(RUNTIME): web/package-lock.json
	cd web && npm ci --no-audit --no-fund --fetch-retries 1 --fetch-timeout 30000
	touch $@

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
