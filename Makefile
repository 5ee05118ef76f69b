# Ferry's commands. Each installs what it needs into .venv, once; `make` alone lists them.

VENV := .venv
BIN := $(VENV)/bin
# The first Python that is new enough; another one: make demo PYTHON=/path/to/python
NEW_ENOUGH := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c '$(NEW_ENOUGH)' 2>/dev/null && echo "$$p" && break; done)
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet
# Toolchain tests run on the CPU; where pip can choose, the CPU build of torch is smaller by gigabytes.
TORCH := torch==2.13.0

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: images images-gpu sbom images-check overlay release k8s-check cluster-test help demo test test-all test-processors test-serving \
	check lint types proto proto-check format bench bench-peers chaos fuzz clients clean

help: ## List these commands
	@echo "Ferry: make COMMAND"
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'

demo: $(VENV)/local.stamp ## Recognise the sample photos with a temporary cluster; annotated pictures go to out/
	$(BIN)/ferry predict samples --annotate out

# A test that fails is repeated alone, and named (tests/repeat.py). REPEAT=pytest: a failure is a failure at once.
REPEAT ?= tests.repeat
# Tests run in as many processes as there are processors, four at most; WORKERS=1: one after the other.
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN) && [ "$$n" -gt 1 ] && { [ "$$n" -lt 4 ] && echo "$$n" || echo 4; } || echo 1)
PYTEST := $(BIN)/python -m $(REPEAT) $(if $(filter-out 1,$(WORKERS)),-n $(WORKERS) --dist loadfile)

test: $(VENV)/toolchain.stamp $(VENV)/clients.stamp check ## Lint, types, contract and the tests, but for the slowest (installs torch)
	$(PYTEST) -m "not slow"

test-all: $(VENV)/toolchain.stamp $(VENV)/clients.stamp check ## Lint, types, contract and all tests
	$(PYTEST) -m "not slow"
	$(BIN)/python -m $(REPEAT) -m slow

test-serving: $(VENV)/dev.stamp $(VENV)/clients.stamp ## The tests that need no torch
	$(PYTEST) -m "not toolchain and not slow"

# Choices and arithmetic that follow the processor, on one without extensions (in the libraries too) and on this one.
ON_PROCESSORS := tests/serving/models tests/serving/test_cpu.py tests/modelkit/training/test_trainer.py \
	tests/modelkit/networks tests/modelkit/quantize tests/modelkit/detector/test_train.py

test-processors: $(VENV)/toolchain.stamp ## Tests that a processor could sway, with its extensions off and on
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 FERRY_TEST_PROCESSOR=avx2 $(BIN)/python -m $(REPEAT) $(ON_PROCESSORS)
	FERRY_TEST_PROCESSOR=real $(BIN)/python -m $(REPEAT) $(ON_PROCESSORS)

EXAMPLES ?= 300

fuzz: $(VENV)/dev.stamp ## Requests over HTTP made from its OpenAPI document, many more than the tests send (EXAMPLES=)
	FERRY_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/gateway/http/test_contract.py --timeout 7200

check: lint types proto-check

lint: $(VENV)/dev.stamp ## Code style, and the contract: its style, and nothing in it breaks its callers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/buf lint protos
	@for ref in main origin/main; do \
		commit=$$(git rev-parse --quiet --verify "$$ref^{commit}" 2>/dev/null) || continue; \
		git cat-file -e "$$commit:protos" 2>/dev/null || continue; \
		echo "$(BIN)/buf breaking protos --against $$ref"; \
		exec $(BIN)/buf breaking protos --against ".git#ref=$$commit,subdir=protos"; \
	done; echo "buf breaking: no branch main to compare the contract with; not checked"

types: $(VENV)/dev.stamp ## Check types
	$(BIN)/mypy

proto: $(VENV)/dev.stamp ## Generate ferry/v1 and ferry/inference from protos/
	$(BIN)/python protos/generate.py

proto-check: $(VENV)/dev.stamp
	$(BIN)/python protos/generate.py --check

format: $(VENV)/dev.stamp ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clients: $(VENV)/clients.stamp ## Install others' clients of the Open Inference Protocol, which the end-to-end tests ask with

bench: $(VENV)/toolchain.stamp ## Measure speed and memory, as ratios taken in one run
	$(BIN)/ferry bench speed

bench-peers: $(VENV)/bench.stamp ## Ferry beside mosec, LitServe, BentoML and others, each in an environment of its own (PEERS_FLAGS=--help)
	$(BIN)/ferry bench peers --install
	$(BIN)/ferry bench peers $(PEERS_FLAGS)

chaos: $(VENV)/bench.stamp ## Kill, hang, slow and cut off parts of a real cluster under load (CHAOS_FLAGS=--help)
	$(BIN)/ferry bench chaos $(CHAOS_FLAGS)

REGISTRY ?= localhost/ferry
VERSION ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
BUILDER ?= $(shell for b in docker podman buildah; do command -v $$b >/dev/null 2>&1 && echo $$b && break; done)
IMAGES ?= gateway ensembler detector classifier models redis
DOCKERFILE ?= deploy/images/Dockerfile
BASE ?=

images: ## Build the images with docker, podman or buildah (REGISTRY=, VERSION=, BUILDER=, BASE=...@sha256:...)
	@test -n "$(BUILDER)" || { echo "install docker, podman or buildah, or name one: make images BUILDER=..." >&2; exit 1; }
	@for image in $(IMAGES); do \
		echo "building $(REGISTRY)/$$image:$(VERSION)"; \
		$(BUILDER) build $(BUILD_FLAGS) $(if $(BASE),--build-arg BASE=$(BASE)) --file $(DOCKERFILE) --target $$image \
			--tag $(REGISTRY)/$$image:$(VERSION) . || exit 1; \
	done

images-gpu: ## Build the GPU images of detector and classifier (REGISTRY=, VERSION=, BUILDER=)
	@$(MAKE) --no-print-directory images IMAGES="detector-gpu classifier-gpu" DOCKERFILE=deploy/images/Dockerfile.gpu

OVERLAY ?=
TRACK ?= stable
MODELS ?=
GPU ?=

overlay:
	@test -n "$(OVERLAY)" || { echo "name your overlay: make release VERSION=... OVERLAY=deploy/k8s/overlays/yours" >&2; exit 1; }
	@test -f "$(OVERLAY)/kustomization.yaml" || { echo "there is no $(OVERLAY)/kustomization.yaml" >&2; exit 1; }

release: overlay $(VENV)/dev.stamp images $(if $(GPU),images-gpu) ## Build the images of VERSION and name them in an overlay (OVERLAY=, TRACK=stable or canary, MODELS="arcface=2", GPU=1)
	$(BIN)/python -m deploy.release --version $(VERSION) --overlay $(OVERLAY) --track $(TRACK) \
		--registry $(REGISTRY) $(MODELS:%=--model %)$(if $(GPU), --gpu)

sbom: $(BIN)/python ## Bills of materials of the images that were built (CycloneDX, in out/sbom)
	@test -n "$(BUILDER)" || { echo "install docker, podman or buildah, or name one: make sbom BUILDER=..." >&2; exit 1; }
	$(BIN)/python -m deploy.images.sbom --builder $(notdir $(BUILDER)) \
		$(foreach image,$(IMAGES),$(REGISTRY)/$(image):$(VERSION))

images-check: $(VENV)/dev.stamp ## Build the images and run Ferry from them with podman (root on Debian; CHECK_FLAGS=--help)
	$(BIN)/python -m deploy.images.check $(CHECK_FLAGS)

k8s-check: $(VENV)/dev.stamp ## Build and check every overlay, rule and dashboard (needs kubectl or kustomize; promtool where present)
	FERRY_K8S_ALL=1 $(BIN)/python -m pytest tests/deploy

cluster-test: $(VENV)/dev.stamp ## Break and mend Ferry on a disposable cluster (docs/cluster-test.md; CLUSTER_FLAGS=--help)
	$(BIN)/python -m tests.kubernetes $(CLUSTER_FLAGS)

clean: ## Remove what was made, .venv excepted
	rm -rf out build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Ferry needs Python 3.11 or newer with its venv module; install it" \
		"(Debian, Ubuntu: apt install python3-venv), or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -c '$(NEW_ENOUGH)' || { echo "$(PYTHON) is older than 3.11, or lacks its venv module" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

$(VENV)/local.stamp: pyproject.toml | $(BIN)/python
	@echo "installing what serving needs into $(VENV) (once, a minute or a few)"
	$(PIP_INSTALL) --editable '.[local]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml | $(BIN)/python
	@echo "installing what serving and its tests need into $(VENV) (once, a minute or a few)"
	$(PIP_INSTALL) --editable '.[local,dev]'
	@touch $@ $(VENV)/local.stamp

$(VENV)/bench.stamp: pyproject.toml | $(BIN)/python
	@echo "installing what serving and its instruments need into $(VENV) (once, a minute or a few)"
	$(PIP_INSTALL) --editable '.[bench]'
	@touch $@ $(VENV)/local.stamp

# In an environment of their own: they want another protobuf than Ferry does.
$(VENV)/clients.stamp: tests/e2e/inference_clients/requirements.txt | $(BIN)/python
	@echo "installing clients of the Open Inference Protocol into $(VENV)/clients (once, a minute or a few)"
	$(BIN)/python -m venv $(VENV)/clients
	$(VENV)/clients/bin/python -m pip install --disable-pip-version-check --quiet --requirement $<
	@touch $@

$(VENV)/toolchain.stamp: pyproject.toml | $(BIN)/python
	@echo "installing everything into $(VENV), torch included (once, some minutes)"
	$(PIP_INSTALL) $(TORCH)
	$(PIP_INSTALL) --editable '.[toolchain,dev]'
	@touch $@ $(VENV)/dev.stamp $(VENV)/local.stamp
