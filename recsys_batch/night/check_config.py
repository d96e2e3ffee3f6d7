"""What of a config only Spark, Java or this machine can judge: checked before a night does anything."""

from collections.abc import Callable, Iterator
from datetime import date

import torch
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.config.night import EPOCH_FORMS, NUMBER_FORMS, Config
from recsys_batch.contracts.errors import ConfigError, RecsysBatchError
from recsys_batch.spark.catalog.missing import FILLED_DDL
from recsys_batch.spark.inputs.sources import read_table
from recsys_batch.spark.session import is_local, make_frame
from recsys_batch.workers.own_sources import load_sources


def resolve_inputs(spark: SparkSession, config: Config, ds: date) -> dict[str, DataFrame]:
    """Return the rows of every input table that the config gives, lazily.

    Raises ConfigError naming every fault of the config that can be told without reading a row: expressions, regular
    expressions, patterns of dates, the shop's own sources, the device; else the first error of an input, such as one
    that is not there yet.
    """
    faults, errors, frames = list(_faults(spark, config)), list[RecsysBatchError](), dict[str, DataFrame]()
    for table in Inputs.OF_NIGHT:
        if sources := getattr(config.sources, table):
            try:
                frames[table] = read_table(spark, table, sources, ds)
            except RecsysBatchError as error:
                errors.append(error)
    wrong = [error for error in errors if isinstance(error, ConfigError)]
    if len(wrong) == 1 and not faults:
        raise wrong[0]
    if faults or wrong:
        raise ConfigError(_listed([*faults, *map(str, wrong)]))
    if errors:
        raise errors[0]
    return frames


def _listed(faults: list[str]) -> str:
    return faults[0] if len(faults) == 1 else f"{len(faults)} faults:\n  " + "\n  ".join(faults)


def _faults(spark: SparkSession, config: Config) -> Iterator[str]:
    for key, pattern in _patterns(config).items():
        if fault := _fault(lambda pattern=pattern: spark._jvm.java.util.regex.Pattern.compile(pattern)):  # type: ignore[misc, union-attr]
            yield f"{key}: {pattern!r} is no regular expression of Java: {fault}"
    for key, form in _date_forms(config).items():
        parsed = F.try_to_timestamp(F.lit("x"), F.lit(form))
        if fault := _fault(lambda parsed=parsed: spark.range(1).select(parsed).collect()):  # type: ignore[misc]
            yield f"{key}: {form!r} is no pattern of a date: {fault}"
    for key, where in _predicates(config).items():
        if fault := _fault(lambda where=where: _empty_catalog(spark).where(where).schema):  # type: ignore[misc]
            yield f"{key}: {where!r} does not resolve on the catalog: {fault}"
    for source in config.ranker.sources if config.ranker is not None else ():
        try:
            load_sources((source,))
        except ConfigError as error:
            yield str(error)
    if config.encoder.device.startswith("cuda") and is_local(spark) and not torch.cuda.is_available():
        yield f"encoder.device: {config.encoder.device!r}, and PyTorch finds no GPU here; use 'auto' or 'cpu'"


def _predicates(config: Config) -> dict[str, str]:
    rules = config.rerank
    given = {"rerank.where": rules.where} | {
        f"rerank.boosts.{place}.where": boost.where for place, boost in enumerate(rules.boosts)
    }
    return {key: where for key, where in given.items() if where}


def _patterns(config: Config) -> dict[str, str]:
    prepare = config.prepare
    given = {
        "prepare.non_product_ids": prepare.non_product_ids,
        "prepare.accounts.test_ids": prepare.accounts.test_ids,
    }
    return {key: pattern for key, pattern in given.items() if pattern}


def _date_forms(config: Config) -> dict[str, str]:
    return {
        f"sources.{table}.{number}.read_as.{column}": form
        for table in Inputs.OF_NIGHT
        for number, source in enumerate(getattr(config.sources, table))
        for column, form in source.read_as.items()
        if form not in (*NUMBER_FORMS, *EPOCH_FORMS)
    }


def _empty_catalog(spark: SparkSession) -> DataFrame:
    columns = Inputs.TYPES["items"] | {"item_index": "int", "canonical_index": "int", "canonical_item_id": "string"}
    ddl = ", ".join(f"`{column}` {kind}" for column, kind in (columns | {"filled": FILLED_DDL}).items())
    return make_frame(spark, [], ddl)


def _fault(check: Callable[[], object]) -> str:
    """Return what is wrong in a line; empty where nothing is."""
    try:
        check()
    except Py4JJavaError as error:
        return str(error.java_exception.getMessage()).splitlines()[0]
    except PySparkException as error:
        return str(error).strip().splitlines()[0]
    return ""
