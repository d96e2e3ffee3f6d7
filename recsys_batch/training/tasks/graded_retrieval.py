"""Graded judgments: the softmax of a query's cosines should follow its documents' gains (ListNet)."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from recsys_batch.contracts.config.block import Block, Share
from recsys_batch.nn.learning.contrastive import listwise_softmax
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.nn.scoring.seen import SeenItems
from recsys_batch.nn.scoring.topk import ItemBlock, exact_topk
from recsys_batch.training.examples.text_sets import Augment
from recsys_batch.training.loop.task import TaskBatch
from recsys_batch.training.tasks.query_document import HeldOut, QueryDocumentBatch, QueryDocumentTask

_EMPTY = torch.empty(0, dtype=torch.int64)


class GradedSettings(Block):
    """How lists are made of judgments."""

    judged: int = Field(24, ge=2)
    """Judged documents of a query in one batch, drawn anew each time."""
    unjudged: int = Field(8, ge=0)
    """Mined documents that nobody judged, which count as not relevant."""
    depth: int = Field(50, ge=1)
    """Nearest unjudged documents that those are drawn from."""
    unjudged_weight: Share = 0.5
    """Share of the loss over all of the batch's documents, where unjudged ones have gain 0; the rest is over the
    judged ones alone."""
    temperature: float = Field(0.05, gt=0)


class GradedRetrievalTask(QueryDocumentTask):
    """Lists of graded documents, one a query."""

    def __init__(
        self,
        network: TextNetwork,
        queries: Sequence[str],
        documents: Sequence[str],
        grades: Sequence[Mapping[int, float]],
        settings: GradedSettings,
        *,
        augment: Augment | None = None,
        held_out: HeldOut | None = None,
        prefixes: tuple[str, str] = ("", ""),
        bfloat16: bool = False,
        name: str = "graded_retrieval",
    ) -> None:
        """Learn from `grades`: for each query, document -> grade (0 and up; the gain is 2**grade - 1).

        Queries whose grades are all alike teach nothing about the judged, and those without a relevant document
        nothing at all: the latter are left out.

        Raises ValueError for a grade below 0 or not finite, and for a document outside `documents`.
        """
        _check(queries, grades, len(documents))
        super().__init__(name, network, documents, settings.temperature, held_out, prefixes, bfloat16)
        kept = [row for row, found in enumerate(grades) if max(found.values(), default=0) > 0]
        self.queries = [queries[row] for row in kept]
        self.grades = [dict(sorted(grades[row].items())) for row in kept]
        self.settings = settings
        self._augment = augment
        self._mined_QK: NDArray[np.int64] = np.full((len(kept), 0), -1, dtype=np.int64)

    def __len__(self) -> int:
        """Return the number of queries with a relevant document."""
        return len(self.queries)

    def start_epoch(self, epoch: int) -> None:  # noqa: ARG002 # the same in every epoch but for the weights
        """Mine each query's nearest unjudged documents with the network as it stands."""
        if not (self.settings.unjudged and len(self)):
            return
        judged = [np.fromiter(found, dtype=np.int64) for found in self.grades]
        indptr = np.concatenate([[0], np.cumsum([len(found) for found in judged])]).astype(np.int64)
        top = exact_topk(
            self.embed_queries(self.queries),
            [ItemBlock(0, self.embed_documents())],
            self.settings.depth,
            exclude=SeenItems(indptr, np.concatenate(judged)),
        )
        self._mined_QK = top.indices_QK.numpy()

    def make_batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> TaskBatch:
        """Return the queries, and the distinct documents drawn for them."""
        documents_D = np.unique(np.concatenate([self._draw(int(row), rng) for row in indices]))
        gains_QD = np.zeros((len(indices), len(documents_D)), dtype=np.float32)
        judged_QD = np.zeros(gains_QD.shape, dtype=bool)
        for row, query in enumerate(indices):
            for column, document in enumerate(documents_D.tolist()):
                grade = self.grades[query].get(document)
                if grade is not None:
                    gains_QD[row, column], judged_QD[row, column] = 2.0**grade - 1.0, True
        texts = [self.queries[row] for row in indices]
        if self._augment is not None:
            texts = [self._augment(text, rng) for text in texts]
        inputs = QueryDocumentBatch(
            self.tokenize_queries(texts),
            self.tokenize_documents(documents_D),
            allowed_QD=torch.ones(gains_QD.shape, dtype=torch.bool),
            positive_Q=_EMPTY,
            gains_QD=torch.from_numpy(gains_QD),
            judged_QD=torch.from_numpy(judged_QD),
        )
        return TaskBatch(inputs, float(len(indices)), inputs.num_tokens)

    def loss(self, outputs: Tensor, batch: TaskBatch) -> Tensor:
        """Return the sum of the queries' listwise losses."""
        inputs: QueryDocumentBatch = batch.inputs
        gains_QD, judged_QD = inputs.gains_QD.to(outputs.device), inputs.judged_QD.to(outputs.device)
        weight = self.settings.unjudged_weight
        among_judged = listwise_softmax(outputs, gains_QD, self.temperature, judged_QD)
        return (1 - weight) * among_judged + weight * listwise_softmax(outputs, gains_QD, self.temperature)

    def _draw(self, query: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return judged documents, relevant ones in at most half of the places, and some mined ones."""
        grades = self.grades[query]
        documents, values = np.array(list(grades)), np.array(list(grades.values()))
        relevant, others = documents[values > 0], documents[values <= 0]
        num_relevant = min(len(relevant), max(self.settings.judged - len(others), self.settings.judged // 2))
        num_others = min(len(others), self.settings.judged - num_relevant)
        mined = self._mined_QK[query]
        mined = mined[mined >= 0]
        return np.concatenate(
            [
                rng.choice(relevant, num_relevant, replace=False),
                rng.choice(others, num_others, replace=False),
                rng.choice(mined, min(len(mined), self.settings.unjudged), replace=False),
            ]
        ).astype(np.int64)


def _check(queries: Sequence[str], grades: Sequence[Mapping[int, float]], num_documents: int) -> None:
    if len(queries) != len(grades):
        raise ValueError(f"{len(queries)} queries and judgments of {len(grades)}")
    for query, found in zip(queries, grades, strict=True):
        for document, grade in found.items():
            if not 0 <= document < num_documents:
                raise ValueError(f"query {query!r}: judged document {document} is none of the {num_documents}")
            if not 0 <= grade < float("inf"):
                raise ValueError(f"query {query!r}: grade {grade} of document {document} must be 0 or above")
