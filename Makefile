# Every target works from a fresh clone with Python 3.11 and Java 17: the first one that runs sets everything up.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3.11
VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JARS := .cache/jars/.fetched
DELTA := io.delta:delta-spark_4.2_2.13:4.4.0
CONFIG ?= conf/demo.yaml
DS ?= 2026-06-30
ARGS ?=
NIGHT_TESTS := tests/e2e tests/faults
SPARK_TESTS := tests/spark tests/demo_spark
SPARK_CONF ?= conf/spark/local.conf
# Executors otherwise run the first python3 of their PATH.
export PATH := $(BIN):$(PATH)
export PYSPARK_PYTHON := $(BIN)/python
SUBMIT = $(BIN)/spark-submit --properties-file $(SPARK_CONF)

.PHONY: help setup demo demo-shop test test-nights test-spark test-training test-plain test-long test-fast test-gpu lint type nightly show datasets pretrain train tune label compress maintain doctor evaluate bench bench-encode bench-encode-stage bench-encode-catalog bench-learning bench-gpu bench-topn bench-prepare bench-dirt cluster-start cluster-stop lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(STAMP) $(JARS) ## Install the locked versions and fetch the Delta jars, once

$(STAMP): requirements.lock setup.py
	@java -version 2>&1 | grep -qE 'version "(17|21)' || { echo "Java 17 is needed on the PATH (apt-get install openjdk-17-jre-headless)"; exit 2; }
	@if command -v uv >/dev/null; then uv venv -q --allow-existing -p $(PYTHON) $(VENV) && uv pip install -q -p $(BIN)/python -r requirements.lock && uv pip install -q -p $(BIN)/python --no-deps -e . ; \
	else $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install -q -r requirements.lock && $(BIN)/python -m pip install -q --no-deps -e . ; fi
	@touch $@

$(JARS): | $(STAMP)
	@echo "fetching Delta Lake's jars"
	@$(BIN)/python -c "from pyspark.sql import SparkSession as S; S.builder.master('local[1]').config('spark.jars.packages', '$(DELTA)').config('spark.ui.enabled', 'false').getOrCreate().stop()" >.cache-fetch.log 2>&1 || { tail -20 .cache-fetch.log; exit 30; }
	@mkdir -p .cache/jars && rm -f .cache-fetch.log
	@cp $${HOME}/.ivy2*/jars/io.delta_delta-*4.4.0.jar $${HOME}/.ivy2*/jars/io.unitycatalog_*.jar .cache/jars/ && touch $@

demo: setup demo-shop ## Make a bilingual shop, run the night on it, show three users
	@$(SUBMIT) jobs/nightly.py --config conf/demo.yaml --ds $(DS) $(ARGS)
	@$(SUBMIT) jobs/show.py --config conf/demo.yaml --ds $(DS) --users 3

demo-shop: setup
	@test -e lake/demo_shop/truth/manifest.json || $(SUBMIT) jobs/make_demo_shop.py --out lake/demo_shop

test: setup ## Run every test but the long ones, two processes at a time
	@$(MAKE) --no-print-directory -j2 test-nights test-spark test-training test-plain

test-nights: setup ## Run the tests of whole nights and jobs
	@$(BIN)/python -m pytest $(NIGHT_TESTS) -m "not long" $(ARGS)

test-spark: setup ## Run the tests of Spark transforms and tables
	@$(BIN)/python -m pytest $(SPARK_TESTS) -m "not long" $(ARGS)

test-long: setup ## Run the long tests: clusters, killed processes, weeks of nights; PART=1 to 6 runs a sixth of them
	@$(BIN)/python -m pytest $(NIGHT_TESTS) $(SPARK_TESTS) -m long --long-part $(or $(PART),0) $(ARGS)

test-training: setup ## Run the tests of training
	@$(BIN)/python -m pytest tests/training $(ARGS)

test-plain: setup ## Run the tests that need neither a JVM nor training
	@$(BIN)/python -m pytest $(addprefix --ignore=,$(NIGHT_TESTS) $(SPARK_TESTS) tests/training) $(ARGS)

test-fast: setup ## Run the tests that need neither a JVM nor training: under a minute
	@$(BIN)/python -m pytest tests/contracts tests/rules tests/nn tests/workers tests/report tests/demo -m "not slow" $(ARGS)

test-gpu: $(STAMP) ## Run the torch tests; on the GPU where there is one
	@$(BIN)/python -m pytest tests/nn tests/workers $(ARGS)

lint: $(STAMP) ## Check style and the direction of imports
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

type: $(STAMP) ## Check types
	@$(BIN)/mypy

nightly: setup ## Run the night: CONFIG=conf/X.yaml DS=YYYY-MM-DD ARGS='--set a.b=c'
	@$(SUBMIT) jobs/nightly.py --config $(CONFIG) --ds $(DS) $(ARGS)

show: setup ## Show lists: CONFIG=... DS=... ARGS='--user 17850'
	@$(SUBMIT) jobs/show.py --config $(CONFIG) --ds $(DS) $(ARGS)

datasets: setup ## Write labels and leak-checked splits of a prepared date: CONFIG=... DS=...
	@$(SUBMIT) jobs/make_datasets.py --config $(CONFIG) --ds $(DS) $(ARGS)

pretrain: setup ## Pre-train an encoder on a dataset's texts: CONFIG=... DS=...
	@$(SUBMIT) jobs/pretrain.py --config $(CONFIG) --ds $(DS) --export $(ARGS)

tune: setup ## Search the settings of training: CONFIG=... DS=...
	@$(SUBMIT) jobs/tune.py --config $(CONFIG) --ds $(DS) $(ARGS)

label: setup ## Choose what people should label next: CONFIG=... DS=...
	@$(SUBMIT) jobs/label.py --config $(CONFIG) --ds $(DS) $(ARGS)

train: setup ## Train on a finished dataset, register, promote: CONFIG=... DS=... ARGS='--task search'
	@$(SUBMIT) jobs/train.py --config $(CONFIG) --ds $(DS) $(ARGS)

compress: setup ## A smaller encoder from the champion or a given model: CONFIG=... DS=...
	@$(BIN)/python jobs/compress.py --config $(CONFIG) --ds $(DS) $(ARGS)

maintain: setup ## Compact tables, remove what no retained night needs: CONFIG=...
	@$(SUBMIT) jobs/maintain.py --config $(CONFIG) $(ARGS)

doctor: setup ## Check the installation: CONFIG=...
	@$(SUBMIT) jobs/doctor.py --config $(CONFIG) $(ARGS)

evaluate: setup ## Offline metrics of the published request lists: CONFIG=... DS=...
	@$(SUBMIT) jobs/evaluate.py --config $(CONFIG) --ds $(DS) $(ARGS)

bench: bench-encode bench-topn ## Run every benchmark

bench-encode: $(STAMP) ## Compare encoding with sentence-transformers
	@$(BIN)/python benchmarks/encode.py $(ARGS)

bench-encode-stage: setup ## Compare the whole encoding stage with sentence-transformers and predict_batch_udf
	@$(BIN)/python benchmarks/encode_stage.py $(ARGS)

bench-encode-catalog: setup ## Three nights of encoding over a whole catalog
	@$(BIN)/python benchmarks/encode_catalog.py $(ARGS)

bench-learning: setup ## Learning experiments on published data: ARGS=chinese, chorus, query_ner, amazon, ...
	@$(BIN)/python benchmarks/learning/$(word 1,$(ARGS)).py $(wordlist 2,99,$(ARGS))

bench-gpu: $(STAMP) ## Compare encoding with sentence-transformers on a GPU
	@$(BIN)/python benchmarks/encode.py --device cuda $(ARGS)

bench-prepare: setup ## How the cost of prepare grows: ARGS='--what scale' or 'skew'
	@$(BIN)/python benchmarks/prepare.py $(ARGS)

bench-dirt: setup ## Precision and recall of every rule of prepare on the demo shop's planted faults
	@$(BIN)/python benchmarks/planted_dirt.py $(ARGS)

bench-topn: $(STAMP) ## Compare the exact top-k with faiss
	@$(BIN)/python benchmarks/topn.py $(ARGS)

cluster-start: setup ## Start a standalone cluster here: one master, two workers of one core each
	@conf/spark/cluster.sh start

cluster-stop: ## Stop it
	@conf/spark/cluster.sh stop

lock: ## Write requirements.lock anew from setup.py
	@uv pip compile -q setup.py --extra demo --extra dev --extra train --extra cpu --python-version 3.11 --no-header --no-annotate -o requirements.lock

clean: ## Remove the environment, caches and lakes
	@rm -rf .venv .cache lake .mypy_cache .ruff_cache .pytest_cache .hypothesis
