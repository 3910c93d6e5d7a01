# Two commands matter: `make demo` and `make test`. The environment is made from a hashed lock, and only when the lock changes.

VENV := .venv
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile

# A person's settings for other Pythons are none for this one. Index, proxy and certificates that pip knows are kept.
unexport PYTHONPATH PYTHONHOME
export PIP_USER := 0
export PYTHON
# What was installed with an interpreter that is gone is not there.
$(shell [ -x $(BIN)/python ] || rm -f $(VENV)/.runtime $(VENV)/.development)

.PHONY: help install demo test lint types tests proofs stores image containers cluster benchmark dictionary screenshots looks lock wheel clean

help:  ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: $(VENV)/.runtime  ## the environment to run in
demo: $(VENV)/.runtime  ## a simulated organization over a month, through the real pipeline
	@$(BIN)/sonar-access demo

test: lint  ## every lint, type check and test
	@$(MAKE) --no-print-directory -j 2 types $(VENV)/.dbt
	@$(MAKE) --no-print-directory tests
lint: $(VENV)/.development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
types: $(VENV)/.development
	$(BIN)/mypy
tests: $(VENV)/.development $(VENV)/.dbt
	$(BIN)/pytest -n 4 --dist worksteal

proofs: $(VENV)/.development $(VENV)/.dbt  ## the property and kill tests at full length, and the deployment on both databases (make test runs less of them)
	HYPOTHESIS_PROFILE=thorough $(BIN)/pytest -n 4 --dist worksteal

stores: $(VENV)/.development  ## every object store whose server is on the PATH: minio, versitygw, azurite-blob, fake-gcs-server
	@$(INSTALL) --require-hashes -r deploy/requirements.lock
	$(BIN)/pytest sonar_access_pipeline_tests/evidence/test_stores.py -v

image:  ## the image that deploy/ names, on a Docker Engine
	docker build -t sonar-access-pipeline:$(VERSION) .

containers: $(VENV)/.development image  ## the image and deploy/compose.yaml on a Docker Engine (as root)
	$(BIN)/pytest sonar_access_pipeline_tests/deploy/test_containers.py -v -s

cluster: $(VENV)/.development  ## Kubernetes as docs/deploy.md has it, on the cluster that kubectl names, with helm and the image on its nodes
	cluster=$$(kubectl config current-context) && CLUSTER=$$cluster $(BIN)/pytest sonar_access_pipeline_tests/deploy/test_cluster.py -v -s

benchmark: $(VENV)/.development  ## the figures in docs/performance.md
	$(BIN)/python -m benchmarks.daily_run
	$(BIN)/python -m benchmarks.extraction
	$(BIN)/python -m benchmarks.history
	$(BIN)/python -m benchmarks.operations
	$(BIN)/python -m benchmarks.evidence
	$(BIN)/python -m benchmarks.reviews
	$(BIN)/python -m benchmarks.published

dictionary: $(VENV)/.development  ## pages of tables, columns, settings and commands, from their descriptions
	$(BIN)/python -m sonar_access_pipeline_tests.support.dictionary

screenshots: $(VENV)/.development  ## docs/images, from the demo in a browser (needs chromium)
	$(BIN)/python -m docs.screenshots

looks: $(VENV)/.development  ## reports, PDFs and sheets of 5, 340 and 10,000 accounts as pictures, to look at (chromium; LibreOffice for sheets)
	$(BIN)/python -m docs.looks looks

wheel: $(VENV)/.runtime  ## a wheel in dist/
	$(BIN)/python -m flit_core.wheel

lock:  ## resolve the locks anew (needs uv)
	uv pip compile --quiet --upgrade $(LOCK) --group build -o requirements.lock pyproject.toml
	uv pip compile --quiet --upgrade $(LOCK) --group build --extra k8s --extra s3 --extra google --extra azure --extra timestamp --extra parquet -c requirements.lock -o deploy/requirements.lock pyproject.toml
	uv pip compile --quiet --upgrade $(LOCK) --group build --group dev -c requirements.lock -o requirements-dev.lock pyproject.toml
	uv pip compile --quiet --upgrade $(LOCK) --group dbt -c requirements.lock -o integrations/dbt/requirements.lock
LOCK := --universal --generate-hashes --no-strip-extras --no-annotate --no-header --python-version 3.11

clean:  ## forget the environment and the demo
	rm -rf $(VENV) .sonar-access-demo dist

$(VENV)/.runtime: requirements.lock pyproject.toml
	@tools/environment.sh $(VENV)
	@echo "installing from requirements.lock (once) ..."
	@$(INSTALL) --require-hashes -r requirements.lock
	@$(INSTALL) --no-build-isolation --editable .
	@touch $@
# dbt needs older versions of what the other tools use: it lies in a folder beside them.
$(VENV)/.dbt: integrations/dbt/requirements.lock $(VENV)/.runtime
	@echo "installing dbt from integrations/dbt/requirements.lock (once) ..."
	@rm -rf $(VENV)/dbt
	@$(INSTALL) --require-hashes --target $(VENV)/dbt -r integrations/dbt/requirements.lock
	@touch $@
$(VENV)/.development: requirements-dev.lock $(VENV)/.runtime
	@echo "installing from requirements-dev.lock (once) ..."
	@$(INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@
