"""What made a job fail is said in our own words, with the exit code that it has on the driver."""

from datetime import date

import pytest
from py4j.protocol import Py4JJavaError

from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.errors import ConfigError, InputNotReadyError, ModelFilesError
from recsys_batch.night.check_config import resolve_inputs
from recsys_batch.spark.causes import naming_causes, root_cause


def test_an_error_of_a_worker_keeps_its_class_and_words(spark):
    def work(batches):
        raise ModelFilesError("models/m: config.json is missing;\ncopy it again")
        yield from batches

    with pytest.raises(ModelFilesError, match=r"^models/m: config\.json is missing;\ncopy it again$"), naming_causes():
        spark.range(1).mapInArrow(work, "id LONG").collect()


def test_an_error_that_is_not_ours_stays(spark):
    def work(batches):
        raise ValueError("no error of ours")
        yield from batches

    with pytest.raises(Exception, match="no error of ours") as caught, naming_causes():
        spark.range(1).mapInArrow(work, "id LONG").collect()
    assert type(caught.value).__name__ == "PythonException"


def test_the_innermost_cause_of_java_is_named(spark):
    with pytest.raises(Py4JJavaError) as caught:
        spark._jvm.java.nio.file.Files.size(spark._jvm.java.io.File("/nowhere").toPath())
    assert root_cause(caught.value) == "NoSuchFileException: /nowhere"
    assert root_cause(ValueError("\n first line\nsecond")) == "first line"
    assert root_cause(ValueError()) == "ValueError"


def config_of(path, **changes):
    events = {"user_id": "u", "event_type": "'view'", "event_time": "t"}
    declared = {
        "name": "shop",
        "sources": {
            "events": [{"format": "parquet", "path": path, "select": events} | changes.pop("events", {})],
            "items": [{"format": "parquet", "path": path, "select": {"item_id": "u", "title": "u"}}],
        },
    }
    return Config.model_validate(declared | changes)


@pytest.fixture(scope="module")
def path(spark, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("raw") / "rows")
    spark.sql("SELECT 'u' AS u, '02.05.2024' AS t").coalesce(1).write.parquet(folder)
    return folder


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prepare": {"non_product_ids": "(?P<a>x)"}}, r"prepare\.non_product_ids: .*no regular expression of Java"),
        ({"prepare": {"accounts": {"test_ids": "(?P<n>a)(?P=n)"}}}, r"prepare\.accounts\.test_ids: "),
        ({"rerank": {"where": "prize > 0"}}, r"rerank\.where: 'prize > 0' does not resolve.*prize"),
        ({"rerank": {"where": "price > > 0"}}, r"rerank\.where: "),
        (
            {"events": {"read_as": {"event_time": "dd.MM.yyyy bbb"}}},
            r"sources\.events\.0\.read_as\.event_time: 'dd.MM.yyyy bbb'",
        ),
        ({"encoder": {"device": "cuda:7"}}, r"encoder\.device: 'cuda:7'"),
    ],
)
def test_what_only_spark_or_this_machine_can_judge_is_a_fault_of_the_config(spark, path, changes, words, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match=words) as caught:
        resolve_inputs(spark, config_of(path, **changes), date(2024, 5, 2))
    assert caught.value.exit_code == 2


def test_all_faults_are_told_at_once_and_before_an_input_that_is_late(spark, path):
    wrong = config_of(path, prepare={"non_product_ids": "(?P<a>x)"}, rerank={"where": "prize > 0"})
    wrong.sources.events[0].select["event_time"] = "no_such_column"
    with pytest.raises(
        ConfigError, match=r"^3 faults:\n  prepare.*\n  rerank.*\n  sources\.events\.0: .*no_such_column"
    ):
        resolve_inputs(spark, wrong, date(2024, 5, 2))
    late = config_of("/nowhere", rerank={"where": "prize > 0"})
    with pytest.raises(ConfigError, match=r"^rerank"):
        resolve_inputs(spark, late, date(2024, 5, 2))
    with pytest.raises(InputNotReadyError):
        resolve_inputs(spark, config_of("/nowhere"), date(2024, 5, 2))
    sound = config_of(
        path, rerank={"where": "price > 0 AND brand <> 'x'"}, events={"read_as": {"event_time": "dd.MM.yyyy"}}
    )
    assert set(resolve_inputs(spark, sound, date(2024, 5, 2))) == {"events", "items"}


def test_a_day_that_no_calendar_has_is_refused_at_reading():
    with pytest.raises(ValueError, match=r"plausible_from\n.*2000-13-45"):
        config_of("x", prepare={"plausible_from": "2000-13-45"})
