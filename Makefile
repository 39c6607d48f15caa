# Everything below runs in .venv, which is made on first use with the versions in constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Compiled code is kept, whatever the environment says: the tests start some forty processes.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-web lint docs clean

demo: $(READY)
	$(BIN)/samrot demo

test: $(READY)
	$(BIN)/python -m pytest -n auto --dist worksteal

# The page of samrot web in a real browser, which is installed where the system is Debian's.
test-web: $(READY)
	command -v chromium chromedriver || (apt-get update && apt-get install --yes chromium chromium-driver) \
		|| echo "there is no Chromium to be had: these tests are skipped"
	$(BIN)/python -m pytest -rs tests/web

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) build runs

# escnn without its declared requirements: see setup.cfg.
$(READY): setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,escnn,family,fast,hub,imagenet,interop,lora,onnx,points,ray,tensorboard,transformers,web]'
	$(BIN)/pip install --quiet --no-deps --constraint constraints.txt escnn lie_learn
	touch $(READY)
