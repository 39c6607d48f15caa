# Everything below runs in .venv, which is made on first use with the versions in constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint docs clean

demo: $(READY)
	$(BIN)/samrot demo

test: $(READY)
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/pdoc samrot --docformat google --output-directory build/api

clean:
	rm -rf $(VENV) build runs

# escnn without its declared requirements: see setup.cfg.
$(READY): setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,escnn,fast,hub,imagenet,interop,lora,onnx,points,ray,tensorboard,transformers]'
	$(BIN)/pip install --quiet --no-deps --constraint constraints.txt escnn lie_learn
	touch $(READY)
