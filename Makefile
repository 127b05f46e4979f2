# `make` lists the targets. Each one does the set-up it needs; the second time that takes no time.
SHELL := /bin/bash
.SHELLFLAGS := -eo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.PHONY: help setup setup-vllm build demo examples test colcon-test test-vllm lint train-tiny clean

# How many scenes the demo lasts.
SCENES ?= 20

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## All that is needed, into .venv: a sourced ROS 2 is used, else wheels of one (ROS_DISTRO=kilted or jazzy)
	@bash environment/setup.sh

setup-vllm: setup ## vLLM for the CPU as well (3.5 GB); with a GPU it is pip install vllm
	@bash environment/setup_vllm.sh

build: setup ## colcon build, into install/
	@bash environment/build.sh

demo: build ## Camera, model and planner in three processes; leaves demo/ (SCENES=20 sets how long)
	@. environment/activate.bash && python examples/demo.py --scenes $(SCENES)

examples: build ## The three example planners, on one simulated table
	@. environment/activate.bash && python examples/run.py

test: build ## Every test, on the real parts
	@. environment/activate.bash && python -m pytest test $(PYTEST)

colcon-test: build ## The same the way of ROS: colcon test, without the engines that need vLLM
	@. environment/activate.bash && colcon test --event-handlers console_direct+ && colcon test-result --verbose

test-vllm: build setup-vllm ## The tests of the engines that need vLLM (10 minutes)
	@. environment/activate.bash && python -m pytest test/vllm test/ros/test_node_on_server.py $(PYTEST)

lint: setup ## ruff and mypy
	@. .venv/bin/activate && ruff check . && ruff format --check . && mypy

train-tiny: setup ## Train models/tiny from scratch (hours on a CPU; goes on where it was stopped)
	@. environment/activate.bash && python -m training

clean: ## Remove what was built and made, keep .venv
	rm -rf build install log demo/*.png demo/*.jsonl demo/*.mcap demo/*.log .pytest_cache .mypy_cache .ruff_cache .hypothesis
