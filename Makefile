# make setup     the environment in .venv (also done by the targets below)
# make demo      recorded images through the real node, scenes out
# make test      the tests (ARGS="-k camera" goes to pytest)
# make weights   train the shipped model again, by its recipe (RENDERS=DIR mixes a CLEVR folder in; hours)
#
# PYTHON=python3.12        the Python to make the environment from (3.10 to 3.12)
# TORCH_INDEX=URL          package index to take torch from, and TORCH_SPEC='torch==VERSION' which one;
#                          without them pip's own configuration decides which build of the pinned version
# TEST_PROCESSES=2         how many processes share the tests (0: none but pytest's own)
# ROS_WHEELS=jazzy         wheels of ROS 2 Jazzy in place of Kilted (with VENV=.venv-jazzy: beside it)

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
TORCH_SPEC ?=
ROS_WHEELS ?= kilted
ARGS ?=
RECIPES ?= recipes/clevr-nano.yaml
RENDERS ?=
WORK ?= work
TEST_LIMIT_S ?= 1800
TEST_PROCESSES ?= 2
DEMO_LIMIT_S ?= 900

VENV_PYTHON := $(abspath $(VENV))/bin/python
ON_LOOPBACK := $(VENV_PYTHON) tools/on_loopback.py
# Set by the ROS 2 wheels of another environment, where make was started from there.
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE

.PHONY: help setup demo test weights

help:
	@sed -n '/^#/!q;s/^# \{0,1\}//p' Makefile

setup:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "make setup: no $(PYTHON) here. Install Python 3.10, 3.11 or 3.12, or: make setup PYTHON=its name" >&2; \
	  exit 1; }
	@$(PYTHON) tools/setup_environment.py --venv "$(VENV)" --ros-wheels "$(ROS_WHEELS)" \
	  --torch-spec "$(TORCH_SPEC)" --torch-index "$(TORCH_INDEX)"

demo: setup
	@$(ON_LOOPBACK) --limit-s $(DEMO_LIMIT_S) $(VENV_PYTHON) -m kyvo_ros.ros.demo $(ARGS)

test: setup
	@$(ON_LOOPBACK) --limit-s $(TEST_LIMIT_S) $(VENV_PYTHON) -m pytest -n $(TEST_PROCESSES) --dist worksteal $(ARGS)

weights: setup
	@for recipe in $(RECIPES); do \
	  echo "make weights: $$recipe"; \
	  $(VENV_PYTHON) -m kyvo_ros.cli train all --recipe $$recipe --work $(WORK)/$$(basename $$recipe .yaml) \
	    --out models/$$(basename $$recipe .yaml) \
	    $(if $(RENDERS),--renders $(RENDERS)) $(ARGS) || exit 1; \
	done
