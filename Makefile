# CT-PneumoSeg. `make demo` shows it, `make test` checks it; `make help` lists the rest.

PYTHON ?= python3
DEMO   := .venv
DEV    := .venv-dev
SHARED ?= ../shared

.PHONY: help demo test test-archive lint figures results weights gallery bundle bundle-ct clean

help:
	@sed -n 's/^## //p' Makefile

## make demo      inference only (no torch): twelve phantom films and a CT, outlined, on one page
demo: $(DEMO)/.installed
	$(DEMO)/bin/pneumoseg demo --out outputs/demo

## make test      everything installed, every check run: style, types, layers, tests
test: lint
	$(DEV)/bin/python -m pytest -n 2 --dist loadfile

## make test-archive  install Ray and run the tests that start a cluster, one at a time
test-archive: $(DEV)/.installed
	$(DEV)/bin/pip install --quiet --disable-pip-version-check -e '.[dev,ray]'
	$(DEV)/bin/python -m pytest tests/prediction/ray_engine/test_archive.py

## make lint      style, types and layers only
lint: $(DEV)/.installed
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports

## make gallery   draw visualizations/ anew, from phantoms and the shipped weights
gallery: $(DEV)/.installed
	$(DEV)/bin/python visualizations/draw.py

## make figures   write the cards' figures and the benchmarks' tables into README and docs
figures: $(DEV)/.installed
	$(DEV)/bin/python docs/figures.py
	$(DEV)/bin/python docs/speed.py
	$(DEV)/bin/python docs/archive.py

## make results   measure the shipped weights on the real films, write docs/results.md (about 15 min)
results: $(DEV)/.installed
	test -f cache/phantom/truth.csv || $(DEV)/bin/pneumoseg phantom --out cache/phantom --count 800 --seed 100000 --size 512
	test -f cache/lean/cache.json || $(DEV)/bin/pneumoseg prepare --settings configs/prepare_cxr.toml
	$(DEV)/bin/python docs/results.py

## make weights   measure the training runs that are here, write docs/weights.md
weights: $(DEV)/.installed
	$(DEV)/bin/python docs/weights.py

## make bundle    make the shipped chest X-ray weights anew (hours; needs the real films in ../shared)
bundle: $(DEV)/.installed
	$(DEV)/bin/pneumoseg phantom --out cache/phantom --count 800 --seed 100000 --size 512
	$(DEV)/bin/pneumoseg prepare --settings configs/prepare_cxr.toml
	$(DEV)/bin/pneumoseg train classifier --settings configs/cxr_classifier.toml
	$(DEV)/bin/pneumoseg train classifier --settings configs/cxr_classifier_finer.toml
	$(DEV)/bin/pneumoseg train segmenter --settings configs/cxr_segmenter.toml
	$(DEV)/bin/pneumoseg calibrate --settings configs/cxr_calibrate.toml

## make bundle-ct  train CT weights on simulated pneumothorax (two hours; needs the CT in ../shared)
bundle-ct: $(DEV)/.installed
	$(DEV)/bin/pneumoseg simulate --settings configs/ct_simulate.toml
	$(DEV)/bin/pneumoseg prepare --settings configs/ct_prepare.toml
	$(DEV)/bin/pneumoseg train classifier --settings configs/ct_classifier.toml
	$(DEV)/bin/pneumoseg train classifier --settings configs/ct_classifier_longer.toml
	$(DEV)/bin/pneumoseg train segmenter --settings configs/ct_segmenter.toml
	$(DEV)/bin/pneumoseg calibrate --settings configs/ct_calibrate.toml

## make clean     remove the virtual environments (outputs, runs and caches stay)
clean:
	rm -rf $(DEMO) $(DEV)

$(DEMO)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(DEV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@
