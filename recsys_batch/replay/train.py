"""Trains a ranker on nights of earlier dates, measures it on users that it has not seen, registers and promotes it."""

import hashlib
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pyspark.sql import SparkSession

from recsys_batch.contracts.columns import BLENDED_SOURCES
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.config.ranker import Ranker
from recsys_batch.contracts.errors import InputNotReadyError
from recsys_batch.contracts.identity import code_version
from recsys_batch.contracts.model_version import ModelVersion
from recsys_batch.night.context import Run
from recsys_batch.nn.scoring.lambdamart import Lambdamart, Shape, read_model
from recsys_batch.pipeline import open_prepared
from recsys_batch.replay.examples import Examples, RankedKind, read_examples, write_examples
from recsys_batch.report.summary import RunSummary
from recsys_batch.rules.blend import blend
from recsys_batch.training.registry.find import open_registry
from recsys_batch.training.registry.promotion import Verdict, try_to_promote
from recsys_batch.training.registry.versions import Cases

log = logging.getLogger("recsys_batch.ranker")
# What examples depend on, besides what the night prepared.
_READS = (
    *("ranker", "retrieve", "rerank.allow_repeats"),
    *(
        f"ranker_training.{key}"
        for key in ("event_types", "replay", "days", "step", "cuts", "max_users", "negatives", "test_share")
    ),
)
FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class KindReport:
    """What was learned for one kind of lists."""

    num_learned: int
    """Profiles."""
    num_tested: int
    ranker: float
    """NDCG at the length of the lists on the test profiles."""
    blend: float
    recall: float
    """Share of the test profiles' targets that any source proposed."""
    gains: dict[str, float]
    """Feature -> share of the gain, the ten largest."""


@dataclass(frozen=True)
class RankerReport:
    """What a training of the ranker did."""

    name: str
    version: str
    kinds: Mapping[str, KindReport]
    verdict: Verdict
    seconds: float


def train_ranker(spark: SparkSession, config: Config, ds: date, promoting: bool = True) -> RankerReport:
    """Train the shop's ranker on what was known up to `ds`; register the version, and promote it if it is not worse.

    Goes on with what an interrupted call of the same settings and data left. Raises InputNotReadyError where too few
    users have something to learn from, and what the night's stages raise.
    """
    started = time.monotonic()
    ranker = config.ranker or Ranker()
    # The name of a model changes no example.
    learning = config.model_copy(update={"ranker": ranker.model_copy(update={"model": ""})})
    with open_prepared(spark, learning, ds, RunSummary(config.name, ds.isoformat()), _READS) as prepared:
        run = replace(prepared, config=config)
        return _train_on(run, ranker, promoting, started)


def _train_on(run: Run, ranker: Ranker, promoting: bool, started: float) -> RankerReport:
    config, ds, training = run.config, run.ds, run.config.ranker_training
    kinds: list[RankedKind] = ["user"] if config.lists.users else []
    if config.lists.requests and config.sources.requests:
        kinds.append("request")
    registry, metric = open_registry(config), f"ndcg@{config.rerank.top_n}"
    reports: dict[str, KindReport] = {}
    cases: dict[str, Cases] = {}
    tests: dict[str, Examples] = {}
    shape = Shape(training.trees, training.leaves, training.learning_rate, config.seed, training.draws)
    with tempfile.TemporaryDirectory() as scratch:
        for kind, parts in write_examples(run, kinds, ranker, training).items():
            learned = [read_examples(folder, ranker.sources) for folder in parts.learn]
            tests[kind] = test = read_examples(parts.test, ranker.sources)
            model = _fit(kind, learned, shape, training.min_profiles)
            model.save(Path(scratch) / f"{kind}.txt")
            cases[f"{kind}.{metric}"] = measured = _measure(run, kind, test, model)
            blended_P = _ndcg(test, _blended(test, config), config.rerank.top_n)
            reports[kind] = _report(learned, test, model, np.array(list(measured.values())), blended_P)
            log.info(
                "%s lists: %s %.4f against %.4f of the blend, %d test profiles; most gained by %s",
                *(kind, metric, reports[kind].ranker, reports[kind].blend, len(test.keys)),
                ", ".join(list(reports[kind].gains)[:5]),
            )
        manifest = ModelVersion(
            name=training.name,
            kind="ranker",
            settings={
                "ranker_training": training.model_dump(mode="json"),
                "ranker": ranker.model_dump(mode="json", exclude={"model"}),
            },
            data={"ds": ds.isoformat(), "prepared_run": run.maker_of("prepare")},
            metrics={
                name: value
                for kind, each in reports.items()
                for name, value in (
                    (f"{kind}.{metric}", each.ranker),
                    (f"{kind}.{metric}[blend]", each.blend),
                    (f"{kind}.recall_of_candidates", each.recall),
                )
            },
            parents=(),
            code_version=code_version(),
            seed=config.seed,
        )
        version = registry.register(manifest, Path(scratch), cases).version
    main = kinds[0]

    def measure_champion(folder: Path) -> Cases:
        file = folder / f"{main}.txt"
        return _measure(run, main, tests[main], read_model(str(file))) if file.is_file() else {}

    verdict = Verdict(False, "promotion was not asked for")
    if promoting and training.automatic:
        verdict = try_to_promote(
            registry, training.name, version, f"{main}.{metric}", measure=measure_champion, seed=config.seed
        )
    return RankerReport(training.name, version, reports, verdict, time.monotonic() - started)


def _fit(kind: str, learned: list[Examples], shape: Shape, least: int) -> Lambdamart:
    sizes = [each.sizes_P[each.sizes_P > 0] for each in learned]
    num_lists = sum(len(each) for each in sizes)
    if num_lists < least:
        raise InputNotReadyError(
            f"{num_lists} profile(s) of {kind} lists wanted anything that was proposed at the cuts, at least {least} "
            "are needed (ranker_training.min_profiles): learn from more days or cuts, or count more event types"
        )
    log.info(
        "%s lists: learning the order of %s candidates of %s profiles",
        kind,
        f"{sum(map(int, (s.sum() for s in sizes))):,}",
        f"{num_lists:,}",
    )
    return Lambdamart.fit(
        learned[0].names,
        [each.rows_NF for each in learned if len(each.rows_NF)],
        np.concatenate([each.labels_N for each in learned]).astype(np.int64),
        np.concatenate(sizes),
        shape,
    )


def _ndcg(examples: Examples, scores_N: FloatArray, length: int) -> npt.NDArray[np.float64]:
    """Return binary NDCG at `length` of each profile (P,); what no source proposed counts as not found."""
    discounts_N = 1.0 / np.log2(np.arange(2, length + 2))
    starts_P = np.concatenate([[0], np.cumsum(examples.sizes_P)])
    values_P = np.zeros(len(examples.sizes_P))
    for place, (start, stop) in enumerate(pairwise(starts_P)):
        best = np.argsort(-scores_N[start:stop], kind="stable")[:length]
        gained = (examples.labels_N[start:stop][best] * discounts_N[: len(best)]).sum()
        values_P[place] = gained / discounts_N[: min(length, int(examples.num_targets_P[place]))].sum()
    return values_P


def _blended(examples: Examples, config: Config) -> FloatArray:
    """Return the blend's scores of the same candidates (N,)."""
    scores_SN = np.stack([examples.feature(source) for source in BLENDED_SOURCES]).astype(np.float64)
    starts_P = np.concatenate([[0], np.cumsum(examples.sizes_P)])
    return blend(scores_SN, starts_P, config.retrieve.calibrations, config.retrieve.weights)[0]


def _report(
    learned: list[Examples], test: Examples, model: Lambdamart, values_P: FloatArray, blended_P: FloatArray
) -> KindReport:
    return KindReport(
        sum(int((each.sizes_P > 0).sum()) for each in learned),
        len(test.keys),
        float(values_P.mean()) if len(values_P) else 0.0,
        float(blended_P.mean()) if len(blended_P) else 0.0,
        float(test.labels_N.sum() / max(test.num_targets_P.sum(), 1)),
        dict(list(model.gains().items())[:10]),
    )


def _measure(run: Run, kind: RankedKind, test: Examples, model: Lambdamart) -> Cases:
    """Return the model's NDCG on each test profile by case; users go by a hash, as the registry outlives them."""
    values_P = _ndcg(test, model.score(test.by_name(), 0), run.config.rerank.top_n)
    return dict(zip(_name_cases(run.ds, kind, test.keys), values_P.tolist(), strict=True))


def _name_cases(ds: date, kind: str, keys: Sequence[str]) -> list[str]:
    return [hashlib.sha256(f"{ds}/{kind}/{key}".encode()).hexdigest()[:16] for key in keys]
