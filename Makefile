# The entry point of all tasks. Needs python3 (3.11 or later) and curl; installs everything else into
# .venv. Checkov and the SAM command line pin their own libraries and have their own environments.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := -m pip install --quiet --no-input --disable-pip-version-check --no-deps --require-hashes
# One more than the processors, because the end-to-end tests wait most of the time.
WORKERS = $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
STAGE ?= default
# Redocly's command line, which renders an OpenAPI document as one HTML file.
REDOCLY := @redocly/cli@2.77.0
# The libraries in the layers, and the permitted licences.
DEPLOYED = $(shell sed -nE 's/^([a-zA-Z0-9_.-]+)==.*/\1/p' layers/*/requirements.txt | sort -u)
LICENCES = { echo "\# Licences of what is deployed"; echo; $(BIN)/pip-licenses --from=mixed --format=markdown \
  --order=name --packages $(DEPLOYED) --partial-match --allow-only="MIT;BSD;ISC;Apache;PSF;MPL"; }
# The Python of the deployment runtime, installed by pyenv; `sam build` needs it on the PATH.
PYTHON_313 = $(shell ls -d "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.13*/bin 2>/dev/null | tail -1)
export SAM_CLI_TELEMETRY := 0

.PHONY: help demo up test torture mutants reliability compare-idempotency fuzz openapi docs samples bench lint format build deploy doctor lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/installed ## run the main job end to end and print each step
	@PYTHONPATH=layers/timbres $(BIN)/python -m local.demo

up: $(VENV)/installed ## run the local stack until Ctrl-C; write .local/env
	@PYTHONPATH=layers/timbres $(BIN)/python -m local.start

test: $(VENV)/installed ## unit, integration and end-to-end tests, on all processors
	@sh tests/browser/install.sh || echo "The browser tests are skipped."
	$(BIN)/python -m pytest -n $(WORKERS)

torture: $(VENV)/installed ## 10,000 examples of contracts with faults, on two cores: minutes
	@for seed in 1 2; do TORTURE_EXAMPLES=5000 $(BIN)/python -m pytest tests/torture \
	  -p no:cacheprovider --hypothesis-seed=$$seed & pids="$${pids:-} $$!"; done; \
	for pid in $$pids; do wait $$pid; done

mutants: $(VENV)/installed ## mutate contract, credential and run code; exit 1 if a mutation passes all tests: minutes (MUTANTS="lag")
	$(BIN)/python -m tests.mutants $(MUTANTS)

reliability: $(VENV)/installed ## inject every fault at every call, write docs/reliability.md: minutes
	RELIABILITY=write $(BIN)/python -m pytest tests/integration/test_reliability.py

compare-idempotency: $(VENV)/installed ## count second contracts in 1,000 lost responses: an idempotency decorator and Timbres
	@PYTHONPATH=layers/timbres $(BIN)/python -m tests.torture.compare_idempotency

fuzz: $(VENV)/installed ## send generated requests to every route of docs/openapi.json: minutes (FUZZ="--seed 7")
	@PYTHONPATH=layers/timbres $(BIN)/python -m tools.fuzz $(FUZZ)

openapi: $(VENV)/installed ## generate docs/openapi.json
	@PYTHONPATH=layers/timbres $(BIN)/python -m tools.openapi

docs: ## render docs/openapi.json as a page, out/api.html; needs Node.js
	@command -v npx > /dev/null || { \
	  echo "make docs needs Node.js 20.19 or later, with npx on the PATH. docs/api.md is readable without it." >&2; exit 1; }
	@mkdir -p out
	REDOCLY_TELEMETRY=off npx --yes $(REDOCLY) build-docs docs/openapi.json --inlineBundle --output out/api.html

samples: $(VENV)/installed ## write docs/samples again: reports, pictures, mails
	@PYTHONPATH=layers/timbres:layers/reports $(BIN)/python -m tests.support.samples

bench: $(VENV)/installed ## measure every goal of docs/performance.md and write its table: eight minutes (BENCH=--help)
	@PYTHONPATH=layers/timbres:layers/reports $(BIN)/python -m bench $(BENCH)

lint: $(VENV)/installed .venv-checkov/installed ## format, lint, types, imports, template, security, licences: offline, in seconds
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy layers/timbres/timbres layers/reports/timbres_reports
	for app in functions/*/app.py; do $(BIN)/mypy "$$app"; done
	$(BIN)/mypy local bench tools client/timbres_client
	PYTHONPATH=layers/timbres:layers/reports $(BIN)/lint-imports
	$(BIN)/cfn-lint --config-file .cfn-lint.yaml template.yaml
	@mkdir -p .local
	$(BIN)/python -m tools.transform > .local/transformed.json
	$(BIN)/cfn-lint --config-file .cfn-lint.yaml .local/transformed.json
	.venv-checkov/bin/checkov --config-file .checkov.yaml --file .local/transformed.json
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive layers/timbres/timbres layers/reports/timbres_reports functions
	$(BIN)/deptry --no-ansi layers functions
	$(BIN)/zizmor --offline --quiet --persona pedantic .github
	@$(LICENCES) | diff docs/licences.md - || { echo "docs/licences.md is outdated: run make licences" >&2; exit 1; }

licences: $(VENV)/installed ## write the licences of the deployed libraries to docs/licences.md
	@$(LICENCES) > docs/licences.md

format: $(VENV)/installed ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

build: .venv-sam/installed $(VENV)/installed ## validate the template and build the deployment package for Lambda's Python and processor
	@PATH="$(PYTHON_313):$$PATH"; command -v python3.13 > /dev/null || { \
	  echo "make build needs python3.13, the deployment runtime, on the PATH: install it, for example with pyenv." >&2; exit 1; }
	AWS_DEFAULT_REGION=$${AWS_DEFAULT_REGION:-mx-central-1} .venv-sam/bin/sam validate --lint
	$(if $(GRADUAL),$(BIN)/python -m tools.gradual > template.gradual.json)
	PATH="$(PYTHON_313):$$PATH" .venv-sam/bin/sam build --config-env $(STAGE) $(if $(GRADUAL),--template template.gradual.json)
	@.venv-sam/bin/python -m tools.check_layers

deploy: build $(VENV)/installed ## deploy to AWS: make deploy STAGE=prod (GRADUAL=1: contract and reconciler in steps)
	@$(BIN)/python -m tools.check_upgrade $(STAGE)
	.venv-sam/bin/sam deploy --config-env $(STAGE)

doctor: $(VENV)/installed ## check tools, AWS, the stack and each account: make doctor STAGE=prod DOCTOR=--ask-pacs
	@PYTHONPATH=layers/timbres $(BIN)/python -m tools.doctor --stage $(STAGE) $(DOCTOR)

lock: $(VENV)/installed ## lock the requirements to their newest versions
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	for name in layers/timbres/requirements layers/reports/requirements requirements/dev requirements/checkov requirements/sam; do \
	  $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-header "$$name.in" --output-file "$$name.txt"; done

clean: ## remove all generated files
	rm -rf $(VENV) .venv-* .local .aws-sam out

$(VENV)/installed: requirements/dev.txt client/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Timbres needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version). Set PYTHON=…" >&2; exit 1; }
	$(call install,$(VENV),$<)
	@$(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check --no-index --no-deps \
	  --no-build-isolation --editable client || { rm $@; exit 1; }

.venv-%/installed: requirements/%.txt
	$(call install,.venv-$*,$<)

# Prints a dot every two seconds while it installs the second argument into the first.
define install
@printf "Installing into $(1) (once, about a minute)…"
@$(PYTHON) -m venv $(1)
@$(1)/bin/python $(PIP_INSTALL) --requirement $(2) & pip=$$!; \
while kill -0 $$pip 2> /dev/null; do sleep 2; printf .; done; wait $$pip; echo
@touch $(1)/installed
endef
