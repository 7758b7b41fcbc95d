# pushserve: `make help` lists what there is.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
JOBS   := server/pushserve_runtime server/pushserve_sandbox
TESTS  ?= tests
MINUTES ?= 10
PIPELINES ?= 2000
SEED ?= 0

.DEFAULT_GOAL := help
.PHONY: help setup run repository test test-faults test-answers check protos wheels bench bench-peers bench-soak lock system-postgres system-h2load clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{split($$1, t, ":"); printf "  make %-16s %s\n", t[1], $$2}'

$(VENV)/.installed: pyproject.toml clients/pyproject.toml webhook/pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pushserve needs Python 3.11 or newer; set PYTHON=…")'
	@command -v git >/dev/null || { echo "pushserve needs git 2.30 or newer"; exit 1; }
	@echo "setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes --requirement requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable . --editable clients --editable webhook
	@touch $@

setup: $(VENV)/.installed ## make .venv with everything that run and test need

run: setup ## start server and webhook, take an example live, say what to try (ARGS="--once" stops then)
	@$(BIN)/python examples/demo.py $(ARGS)

repository: setup ## make a Git repository that `make run` serves from (NAME=churn), and print where it is
	@$(BIN)/python examples/demo.py --repository $(or $(NAME),$(error say NAME=…))

# What pytest makes of the tests' asserts is kept beside them, whatever the caller's environment says.
test test-faults: export PYTHONDONTWRITEBYTECODE =

test: setup system-postgres ## run the tests (TESTS=tests/unit for some of them)
	@$(BIN)/python -m compileall -q server webhook clients
	@$(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder --quiet -m 'not long' $(TESTS)

test-faults: setup system-postgres ## run what `make test` only has a share of: kills, hostile workers, estimators, environments
	@$(BIN)/python -m compileall -q server webhook clients
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m long $(TESTS)

test-answers: setup ## push random pipelines and compare every door with scikit-learn (PIPELINES=2000 SEED=0)
	@$(BIN)/python -m tests.answers.run --pipelines $(PIPELINES) --seed $(SEED) $(ARGS)

check: setup ## ruff, mypy, stubs fresh, buf lint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy --python-version 3.10 $(JOBS)
	@cd benchmarks && ../$(BIN)/mypy --config-file mypy.ini *.py peers/*.py
	@$(BIN)/buf lint
	@$(BIN)/python protos/check_stubs.py

protos: setup ## make the stubs and docs/api.md from the .proto files anew
	@$(BIN)/python protos/make_stubs.py
	@$(BIN)/python protos/make_api_page.py

wheels: setup ## build the three distributions into dist/
	@for folder in clients webhook .; do \
	  $(BIN)/uv build --quiet --wheel --no-build-isolation --python $(BIN)/python --out-dir dist $$folder || exit 1; done
	@ls dist/*.whl

bench: setup system-h2load ## measure every figure of one machine, under 10 minutes (ARGS="--parts predict push")
	@$(BIN)/python benchmarks/run.py $(ARGS)

bench-peers: setup system-h2load ## measure beside MLServer, PyTriton and grpcio by hand (ARGS="--peers mlserver")
	@$(BIN)/python benchmarks/peers.py $(ARGS)

bench-soak: setup ## mixed load for 10 minutes with a new version every 2 s (MINUTES=2)
	@$(BIN)/python benchmarks/soak.py --minutes $(MINUTES) $(ARGS)

lock: ## resolve requirements.lock anew
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --group dev --extra boosting pyproject.toml \
	  --no-emit-package pushserve-client --no-emit-package pushserve-webhook \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --output-file requirements.lock

system-postgres: ## install PostgreSQL's server programs (Debian), which some tests need
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || sh tests/install_system.sh postgresql

system-h2load: ## install h2load (Debian's nghttp2-client), which the benchmarks need
	@command -v h2load >/dev/null || sh tests/install_system.sh nghttp2-client

clean: ## remove what run left (repositories, registry, bundles)
	@rm -rf .run
