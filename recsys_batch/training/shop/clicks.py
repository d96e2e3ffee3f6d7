"""The task of clicks: which of the items that a query was shown are clicked."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from recsys_batch.contracts.config.tasks import ClickRanking
from recsys_batch.contracts.datasets import TEST, TRAIN, VALID
from recsys_batch.nn.learning.heads import load_head, save_head
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.rules.metrics.labels import auc
from recsys_batch.training.examples.columns import Clicks
from recsys_batch.training.shop.base import HEADS, Measured, Shared, head_folder, name_cases, need_examples, pair_up
from recsys_batch.training.tasks.click_ranking import ClickRankingTask


class ClickTask:
    """The probability of a click."""

    main_metric = "auc_by_query"

    def __init__(self, settings: ClickRanking, shared: Shared, network: TextNetwork, model: Path | None = None) -> None:
        """Make the task of the exported examples; with `model`, of the head that is kept there, to measure only."""
        self._test = shared.files.clicks(TEST)
        if model is not None:
            head, _ = load_head(head_folder(model, settings.name))
            nothing = Clicks([], np.zeros(0, dtype=np.int64), np.zeros(0), [])
            self.task = ClickRankingTask(network, nothing, name=settings.name)
            self.task.head.load_state_dict(head.state_dict())
            return
        train, valid = shared.files.clicks(TRAIN), shared.files.clicks(VALID)
        need_examples(settings.name, len(train), "items shown under queries")
        self.task = ClickRankingTask(
            network,
            train,
            valid if len(valid) else None,
            name=settings.name,
            dropout=settings.dropout,
            seed=shared.seed,
        )

    def measure(self) -> Measured:
        """Return the area under the ROC curve over all pairs (as logged, and weighted against position bias), and its
        mean over the queries that were shown both clicked and other items: those are the cases.
        """
        test = self._test
        if not len(test):
            return Measured()
        assert test.queries is not None  # exported clicks have queries  # noqa: S101
        scores_N = self.task.probabilities(test.items, test.queries).astype(np.float64)
        rows: dict[str, list[int]] = defaultdict(list)
        for row, query in enumerate(test.queries):
            rows[query].append(row)
        told = {query: found for query, found in rows.items() if len(set(test.labels[found].tolist())) > 1}
        each = np.array([auc(test.labels[found], scores_N[found]) for found in told.values()], dtype=np.float64)
        metrics = {"auc": auc(test.labels, scores_N), "auc_unbiased": auc(test.labels, scores_N, test.weights)}
        if not told:
            return Measured(metrics)
        cases = {self.main_metric: pair_up(name_cases(list(told)), each)}
        return Measured(metrics | {self.main_metric: float(each.mean())}, cases)

    def save(self, folder: Path) -> None:
        """Keep the head."""
        save_head(self.task.head, folder / HEADS / self.task.name, {})
