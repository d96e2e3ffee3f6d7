"""Which stages a run has to go through, and which of earlier runs of the date it can go on from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.load import hash_settings
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.identity import identify, new_run_id
from recsys_batch.contracts.run_facts import RunFacts
from recsys_batch.night.context import Run
from recsys_batch.night.retrieve import RETRIEVE
from recsys_batch.spark.lake.files import list_folders
from recsys_batch.spark.lake.prepared import read_prepared
from recsys_batch.spark.lake.runs import RUNS, FinishedStage, finished_stages
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.release import released_runs

RANK = "rank"


@dataclass(frozen=True)
class Stage:
    """One stage of the night: its work, and what of the config its tables depend on."""

    name: str
    work: Callable[[Run], None]
    reads: tuple[str, ...]
    """Dotted paths of the blocks and keys of the config that it reads; those of earlier stages need not be repeated."""
    but: tuple[str, ...] = ()
    """Keys within these that it does not read."""


@dataclass(frozen=True)
class Plan:
    """Which stages to run, under which run id, and on what."""

    run_id: str
    identities: Mapping[str, str]
    """Stage name -> identity."""
    todo: Sequence[Stage]
    reused: Sequence[FinishedStage] = ()
    """Stages of earlier runs that this one goes on from, in their order."""

    def start_from(self) -> RunFacts:
        """Return what the run knows before its first stage."""
        return self.reused[-1].facts if self.reused else RunFacts()


def identities_of(
    stages: Sequence[Stage], config: Config, ds: date, versions: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """Return the identity of every stage by name; `versions` are those of its inputs and models, by stage."""
    identities: dict[str, str] = {}
    before = ""
    for stage in stages:
        settings = hash_settings(config, stage.reads, stage.but)
        before = identities[stage.name] = identify(ds, stage.name, settings, versions.get(stage.name, {}), before)
    return identities


def plan_whole(ds: date, stages: Sequence[Stage], identities: Mapping[str, str]) -> Plan:
    """Plan a run of all stages."""
    return Plan(_run_id(ds, identities, []), identities, stages)


def plan_rest(lake: Lake, ds: date, stages: Sequence[Stage], identities: Mapping[str, str]) -> Plan:
    """Plan a run of the stages that no earlier run of the date has finished with the same identity."""
    reused = _newest_chain(lake, ds, stages[:-1], identities)
    run_id = _run_id(ds, identities, reused)
    return Plan(run_id, identities, stages[len(reused) :], reused)


def plan_one(lake: Lake, ds: date, stages: Sequence[Stage], identities: Mapping[str, str], name: str) -> Plan | str:
    """Plan a run of the stage `name` alone; return the earlier stage that no run has finished where there is one."""
    place = [stage.name for stage in stages].index(name)
    reused = _newest_chain(lake, ds, stages[:place], identities)
    if len(reused) < place:
        return stages[len(reused)].name
    return Plan(_run_id(ds, identities, reused), identities, stages[place : place + 1], reused)


def _run_id(ds: date, identities: Mapping[str, str], reused: Sequence[FinishedStage]) -> str:
    # Two processes never write rows under one id: each makes its own. But staged rows carry the id of the run that
    # staged them, so under this one they are published, once by however many processes (`release.publish`).
    if reused and reused[-1].stage == RANK:
        return reused[-1].run_id
    return new_run_id(ds, list(identities.values())[-1])


def _newest_chain(
    lake: Lake, ds: date, stages: Sequence[Stage], identities: Mapping[str, str]
) -> Sequence[FinishedStage]:
    """Return as many of `stages`, from the first on, as stand finished: the newest last one, and those it rests on."""
    if not stages:
        return []
    finished = [each for each in finished_stages(lake, ds) if identities.get(each.stage) == each.identity]
    known = {(each.stage, each.run_id): each for each in finished}
    released = released_runs(lake, ds)
    for last in reversed(stages):
        for found in (each for each in finished if each.stage == last.name):
            chain = [known.get(made) for made in found.facts.made_by.items()]
            whole = [each for each in chain if each is not None]
            if len(whole) == len(chain) and _stands(lake, ds, found, released):
                return whole
    return []


def _stands(lake: Lake, ds: date, last: FinishedStage, released: set[str]) -> bool:
    """Whether all is there that a run needs to go on from `last`; what a released run staged is its release's."""
    made_by = last.facts.made_by
    if made_by.get(RANK) in released or read_prepared(lake, Tables.ITEMS, ds, made_by["prepare"]).isEmpty():
        return False
    if RETRIEVE not in made_by:
        return True
    left = list_folders(lake.spark, lake.path(f"{RUNS}/{made_by[RETRIEVE]}"))
    return {"index", "profiles", "candidates"} <= set(left)
