PYTHON ?= python3
DATA ?= ../shared/data/fer2013.zip
VOTES ?= ../shared/data/ferplus_votes.csv
PHOTOS ?= ../shared/data/photos_train.zip
MODEL ?= mien-s
SECONDS ?= 600
JOBS ?= 2
BIN := .venv/bin
RECIPE = $(firstword $(wildcard recipes/$(MODEL).yaml experiments/$(MODEL).yaml))
FURTHER = $(if $(filter mien-s mien-s-a mien-s-b mien-m mien-m-a,$(MODEL)),--data photographs:$(PHOTOS))
RUNTIME := web/node_modules/.package-lock.json

.PHONY: demo install check test lower fuzz train soft-labels bench accuracy figures docs web
.NOTPARALLEL:

demo: .venv/light ## install mien without extras and run it on a portrait
	$(BIN)/mien predict src/mien/assets/portrait.jpg --save demo

install: .venv/full ## install everything that training, checks and tests need

check: .venv/full ## run ruff, mypy, import-linter and codespell
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

test: .venv/full ## run the tests; those of the web page need npm and chromium
	@if ! command -v npm > /dev/null; then echo "no npm: the web page is not built"; \
	elif $(MAKE) $(RUNTIME); then $(MAKE) web; else echo "npm could not fetch packages: the web page is not built"; fi
	$(BIN)/pytest -rs -n $(JOBS) --dist loadfile

lower: .venv-lower/done ## run the tests of media, faces and cli with the lowest versions that pyproject.toml allows
	.venv-lower/bin/pytest -rs tests/media tests/faces tests/cli

fuzz: .venv/full ## read damaged images, videos, data sets, recipes, models and requests for SECONDS
	$(BIN)/python tests/fuzz/fuzz.py --seconds $(SECONDS) --out benchmarks/results/fuzz.json

web: .venv/light $(RUNTIME) ## collect the page's runtime and models; build dist/web, which any server can host
	$(BIN)/python web/build.py

$(RUNTIME): web/package-lock.json
	cd web && npm ci --no-audit --no-fund --fetch-retries 1 --fetch-timeout 30000
	touch $@

train: .venv/full ## train a shipped model from its recipe: make train MODEL=mien-s, mien-xs, mien-m or baseline
	@case $(MODEL) in \
	  mien-s) $(MAKE) train MODEL=mien-s-a && $(MAKE) train MODEL=mien-s-b;; \
	  mien-s-fer2013) $(MAKE) train MODEL=mien-s-start;; \
	  mien-m|baseline) $(MAKE) train MODEL=$(MODEL)-a;; \
	  mien-m-a|baseline-a) $(MAKE) train MODEL=$(MODEL:-a=-start);; \
	  mien-s-start|mien-xs-fer2013) $(MAKE) train MODEL=mien-m-start;; esac # the model that its training starts from
	$(BIN)/mien train --data $(DATA) $(FURTHER) --votes $(VOTES) --recipe $(RECIPE) --out runs/$(MODEL) --resume

soft-labels: .venv/full ## train the ten teachers and make experiments/soft_labels.npz again
	for fold in 0 1 2 3 4; do for run in cutmix:$$((1 + fold)) mixup:$$((11 + fold)); do \
	$(BIN)/mien train --data $(DATA) --votes $(VOTES) --recipe experiments/teacher-$${run%:*}.yaml --fold $$fold \
	--seed $${run#*:} --out runs/teacher-$${run%:*}-$$fold --resume || exit 1; done; done
	$(BIN)/mien data soft-labels $(DATA) --classes 7 --out experiments/soft_labels.npz \
	$(foreach kind,cutmix mixup,$(foreach fold,0 1 2 3 4,--model runs/teacher-$(kind)-$(fold)/best.safetensors))

bench: .venv/full ## measure the speed on this machine beside fer and an older commit, in about ten minutes
	$(BIN)/python -m benchmarks.speed.machine --env .venv-fer

accuracy: .venv/full ## measure the accuracy of the shipped models; benchmarks/ has the other scripts
	$(BIN)/python -m benchmarks.accuracy.evaluate --data $(DATA) --votes $(VOTES)

figures: .venv/full ## write the measured figures into the documents
	$(BIN)/python -m benchmarks.pages.documents

docs: .venv/full ## build the site of the documents into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --site-dir site

.venv/light: requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps -e .
	touch $@

.venv/full: requirements-dev.txt .venv/light
	$(BIN)/pip install -q --disable-pip-version-check -r requirements-dev.txt
	touch $@

.venv-lower/done: pyproject.toml .ci/lowest.py requirements-dev.txt
	test -x .venv-lower/bin/python || $(PYTHON) -m venv .venv-lower
	.venv-lower/bin/python .ci/lowest.py report heif parquet > .venv-lower/requirements.txt
	grep -E "^(pytest|hypothesis|onnx)==" requirements-dev.txt >> .venv-lower/requirements.txt
	.venv-lower/bin/pip install -q --disable-pip-version-check -r .venv-lower/requirements.txt
	.venv-lower/bin/pip install -q --disable-pip-version-check --no-deps -e .
	touch $@
