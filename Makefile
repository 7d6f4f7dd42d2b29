# Python 3.11 to 3.14, make and git are enough: uv is taken from PATH, or else installed by pip
# into the environment that is made here. What is installed once is used without a network after.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# A company's proxy signs with its own CA, which the system knows and uv by itself does not.
export UV_SYSTEM_CERTS := 1
# Commands start twice as slow when their bytecode is not there.
export UV_COMPILE_BYTECODE := 1
# The environment's uv is for everything that starts below as well.
export PATH := $(CURDIR)/$(BIN):$(PATH)

export PYTHONPATH := $(CURDIR)
IN_GENERATED := PYTHONPATH=$(CURDIR):$(CURDIR)/demo $(BIN)/python benchmarks/generated.py

.PHONY: demo test bench soak pictures
.DEFAULT_GOAL := demo

demo: $(VENV)/.demo ## generate a service, run it, and watch it keep two tenants apart
	@$(BIN)/python demo/run.py

test: $(VENV)/.test ## prove the template: every combination, and what each generates
	@$(BIN)/python -m pytest $(ARGS)

bench: $(VENV)/.bench ## measure generation, privacy, isolation, tokens and telemetry, beside what is plain; SIZE=smallest for a quick look
	@$(BIN)/python benchmarks/generation.py --size $(or $(SIZE),full)
	@$(BIN)/python benchmarks/privacy.py --size $(or $(SIZE),full) $(ARGS)
	@$(IN_GENERATED) isolation.py tokens.py telemetry.py --size $(or $(SIZE),full)

soak: $(VENV)/.test ## look long for counterexamples, leaks, faults that show and ways to another tenant; MINUTES=1 for a shorter look
	@ORACLE_EXAMPLES=20000 $(BIN)/python -m pytest tests/test_relay_oracle.py
	@PYTHONPATH=$(CURDIR):$(CURDIR)/demo $(BIN)/python benchmarks/soak.py --minutes $(or $(MINUTES),10)
	@$(IN_GENERATED) isolation_soak.py --minutes $(or $(MINUTES),10)
	@$(IN_GENERATED) faults.py $(if $(filter 1,$(MINUTES)),--seconds 3 --errors 1000)
	@$(IN_GENERATED) mutate.py $(if $(filter 1,$(MINUTES)),--sample 12)
	@SCHEMA_EXAMPLES=200 $(BIN)/python -m pytest tests/test_schema.py

pictures: $(VENV)/.test ## run the service under load beside a real Prometheus, and draw each dashboard, and where the time goes, into docs/
	@PYTHONPATH=$(CURDIR):$(CURDIR)/demo $(BIN)/python benchmarks/pictures.py
	@$(IN_GENERATED) telemetry.py --write

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; name it: make PYTHON=python3.13")'
	@if command -v uv >/dev/null; then uv venv --quiet --clear --python $(PYTHON) $(VENV); \
	else $(PYTHON) -m venv --clear $(VENV) && $(BIN)/python -m pip install --quiet --disable-pip-version-check uv; fi
	@touch $@

$(VENV)/.demo: $(VENV)/.python pyproject.toml
	@uv pip install --quiet --python $(BIN)/python -r pyproject.toml
	@touch $@

$(VENV)/.bench: $(VENV)/.demo
	@uv pip install --quiet --python $(BIN)/python -r pyproject.toml --extra bench
	@touch $@

$(VENV)/.test: $(VENV)/.bench # whose smallest size is a test
	@uv pip install --quiet --python $(BIN)/python -r pyproject.toml --extra test
	@touch $@
