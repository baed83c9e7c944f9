# make demo    a corpus from a real conversation, in a fresh clone, nothing else needed
# make test    lint, types, tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FOLDERS := $(sort $(patsubst %/py.typed,%,$(wildcard */py.typed)))
STAMP := $(VENV)/.stamp-$(shell (cat constraints.txt pyproject.toml setup.py; echo $(FOLDERS)) | sha256sum | cut -c1-16)

.PHONY: demo test lint types unit test-slow test-cases test-fuzz test-faults browser test-browser test-ray test-s3 bench ratios tasks clean setup

setup: $(STAMP)

$(STAMP): constraints.txt pyproject.toml setup.py
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[models,train,review,dev]"
	touch $@

demo: setup
	$(BIN)/corpus models pull
	mkdir -p demo
	test -f demo/call.mp4 || $(BIN)/corpus sample demo/call.mp4
	$(BIN)/corpus build demo/call.mp4 --out demo/dataset
	$(BIN)/corpus verify demo/dataset
	$(BIN)/corpus stats demo/dataset
	@echo
	@echo "The report:      demo/dataset/report.html"
	@echo "A clip, whole:   $(BIN)/corpus inspect demo/dataset && open the page it names"
	@echo "Your own talk:   $(BIN)/corpus build talk.mp4 --out dataset"

test: lint types unit

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy typings/corpus

unit: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not gpu and not browser and not ray"

test-slow: setup
	$(BIN)/python -m pytest -m "slow and not gpu"

# A thousand damaged media files, ten thousand annotation files and thousands of damaged datasets: no traceback, no
# hang, each used or refused with a sentence, nothing written elsewhere.
test-fuzz: setup
	$(BIN)/python -m pytest -m "slow" tests/ingest/test_fuzz.py tests/align/formats/test_sidecar_fuzz.py tests/foreign

# A build in which the n-th write, fsync, rename or open fails, for every n: some minutes. Linux and a C compiler.
test-faults: setup
	$(BIN)/python -m pytest -m faults tests/faults

# Builds on a Ray cluster of two nodes on this machine, a killed worker included.
test-ray: setup
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[ray]"
	$(BIN)/python -m pytest -m ray tests/pipeline/test_ray.py

# Builds into and reads from an S3 server. Its packages want an older python-dateutil than constraints.txt.
test-s3: setup
	$(PYTHON) -m venv $(VENV)/s3
	$(VENV)/s3/bin/pip install --quiet --disable-pip-version-check -r tests/requirements-s3.txt
	echo "$(CURDIR)/$(VENV)/lib/$$(ls $(VENV)/lib)/site-packages" > $$(echo $(VENV)/s3/lib/*/site-packages)/zz_more.pth
	PYTHONPATH=$(CURDIR)/typings $(VENV)/s3/bin/python -m pytest tests/shards/test_s3.py tests/pipeline/test_s3_build.py \
		tests/trainer/data/test_s3_stream.py

# Small inputs with an exact truth, where ../shared/cases is there; the `ffmpeg` program makes them.
test-cases: setup
	test ! -d ../shared/cases || PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python ../shared/cases/check.py --all

# The annotators' page in chromium, and axe-core's look at it. Both are fetched where they are missing, chromium as root.
AXE := $(VENV)/axe/node_modules/axe-core/axe.min.js

browser: setup
	command -v chromium > /dev/null || (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium)
	test -f $(AXE) || npm install --silent --no-save --prefix $(VENV)/axe axe-core@4.14.1

test-browser: browser
	CORPUS_AXE=$(CURDIR)/$(AXE) $(BIN)/python -m pytest -m browser

# The ratios of benchmarks/RESULTS.md, an hour and more; each prints its bar.
bench: setup
	cd benchmarks && for name in mel shard_write shard_read whole_build build_memory rebuild align_quality \
		trainer_loader; do ../$(BIN)/python $$name.py || exit 1; done

# The trainer's ratios and MFU: on a GPU at the shapes of `base`, elsewhere small.
ratios: setup
	$(BIN)/python benchmarks/trainer_ratios.py --out ratios

# The five proactive tasks: each a generator, a training run of `tiny` on one core and a score.
tasks: setup
	cd benchmarks && ../$(BIN)/python proactive.py every count startstop correct report

clean:
	rm -rf $(VENV) build dist *.egg-info demo ratios
