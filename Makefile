# make book      the pages, from the outputs stored in the notebooks; no PyTorch needed
# make test      everything that is checked, in an environment that has PyTorch
# make test-exhaustive   the rest of the tests
# make test-all   both, as .ci/run does
# make test-browsers   the net on the page in Firefox and WebKit, and what takes longer in Chromium
# make lint      the style of all code, notebooks included; `make format` mends what can be mended
# make execute   run the notebooks and store what they show
# make pdf       the whole book as _build/running-alexnet.pdf, printed by Chromium
# make zip       the built pages as _build/running-alexnet.zip, to unpack and open
# make previews   the picture of each page, from the built pages, for the first page and for where a link is shared
# make record    put what follows from new recorded runs into the record of claims
# make bench     how fast, beside a named peer in the same run
# make gpu       all that needs a GPU, in pieces; again, it goes on (OPTIONS=--dry-run lists the pieces)
# make lab       JupyterLab on the book

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
NOTEBOOKS := $(wildcard book/*.ipynb)
PAGES := _config.yml _toc.yml $(NOTEBOOKS) $(wildcard book/*.md book/*.bib book/_ext/*.py book/_static/* book/_static/*/* book/_static/*/*/* book/pages.yml book/_templates/* alexnet/bookkit/engine/* alexnet/bookkit/page/* alexnet/bookkit/race/* book/*.html)
FIRST_PAGE := _build/html/index.html
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: book test test-exhaustive test-all test-browsers lint format pdf zip previews record execute bench gpu lab clean

book: $(FIRST_PAGE)
	@echo "The book: file://$(CURDIR)/$(FIRST_PAGE)"

# A page that gave a warning is not made again by the next run, so the warning would be lost: start anew after a failure.
# Sphinx does not look whether styles, templates and extensions are newer than the pages; with --all it need not.
$(FIRST_PAGE): $(VENV)/book.stamp $(PAGES)
	$(BIN)/jupyter-book build . -W -n --keep-going --quiet $(if $(filter-out %.ipynb %.md,$?),--all) || { rm -rf _build; exit 1; }
	@touch $@

# Two files at a time, each from its first test to its last: a notebook's cells share a kernel, the browser tests one build.
# With a thread each they do not wait for one another; without `-n 2` the tests are the same, one after the other.
test: $(VENV)/full.stamp
	$(PYTEST) --nbval -m "not exhaustive and not browsers"

# What takes long and seldom finds anything new: each page on the other device, further cases of what `make test` asks once,
# mutated files, compilers and exporters, rare signals, every stop of a slider.
test-exhaustive: $(VENV)/full.stamp
	$(PYTEST) -m exhaustive tests

# Both in one run, so that the book is built once and no core waits in between.
test-all: $(VENV)/full.stamp
	$(PYTEST) --nbval -m "not browsers"

# The net on the page in the browsers that are installed, one after the other.
test-browsers: $(VENV)/full.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browsers tests/bookkit

# JavaScript is checked where npm has installed what package.json names.
lint: $(VENV)/full.stamp
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	@if [ -d node_modules ]; then node_modules/.bin/biome ci && node_modules/.bin/tsc; \
		else echo "JavaScript is not checked: npm install --no-package-lock"; fi

format: $(VENV)/full.stamp
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format --quiet .
	@if [ -d node_modules ]; then node_modules/.bin/biome check --write; fi

pdf: $(VENV)/full.stamp $(FIRST_PAGE)
	$(BIN)/python book/make_pdf.py _build/html _build/running-alexnet.pdf
	@echo "The book: _build/running-alexnet.pdf"

zip: $(FIRST_PAGE)
	$(BIN)/python book/make_zip.py _build/html _build/running-alexnet.zip
	@echo "The book: _build/running-alexnet.zip"

# Those that are up to date stay as they are. The next `make book` puts the new ones into the pages.
previews: $(VENV)/full.stamp $(FIRST_PAGE)
	$(BIN)/python book/make_previews.py _build/html

record: $(VENV)/full.stamp
	$(BIN)/python book/fill_record.py

execute: $(VENV)/full.stamp
	$(BIN)/python book/execute.py $(NOTEBOOKS)

bench: $(VENV)/full.stamp
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/engine.py

# Without a network: with the environment that there is, or else with what Python itself has.
gpu:
	$(or $(wildcard $(BIN)/python),$(PYTHON)) benchmarks/gpu.py $(OPTIONS)

lab: $(VENV)/full.stamp
	$(BIN)/python -m jupyter lab --notebook-dir=book

clean:
	rm -rf _build $(VENV)

$(VENV)/book.stamp: requirements-book.txt | $(VENV)
	$(BIN)/python -m pip install --quiet --requirement $<
	@touch $@

$(VENV)/full.stamp: requirements.txt pyproject.toml $(VENV)/book.stamp
	$(BIN)/python -m pip install --quiet --requirement $<
	@touch $@

$(VENV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "The book needs Python 3.11 or newer; $(PYTHON) is older or missing: name one, as in make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $@ || \
		{ rm -rf $@; echo "$(PYTHON) cannot make a virtual environment: install its venv module (on Debian, apt install python3-venv)" >&2; exit 1; }
