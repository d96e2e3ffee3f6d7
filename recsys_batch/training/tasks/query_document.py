"""What retrieval tasks share: one network, queries on one side and documents on the other, cosines between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from recsys_batch.nn.learning.contrastive import softmax_divergence
from recsys_batch.nn.learning.text_network import TextBatch, TextNetwork
from recsys_batch.nn.scoring.seen import SeenItems
from recsys_batch.nn.scoring.topk import ItemBlock, exact_topk
from recsys_batch.rules.metrics.ranking import graded_ndcg
from recsys_batch.training.examples.embedding import embed_texts
from recsys_batch.training.examples.text_sets import embed_by_length
from recsys_batch.training.loop.task import TaskBatch


@dataclass(frozen=True)
class QueryDocumentBatch:
    """Some queries (Q) and distinct documents (D) as tokens, and what the loss needs to know of each cell."""

    queries: TextBatch
    documents: TextBatch
    allowed_QD: Tensor
    """False where a document must not count for a query."""
    positive_Q: Tensor
    """Column of the right document; empty for graded lists."""
    gains_QD: Tensor
    """Gains of judged documents; empty for pairs."""
    judged_QD: Tensor
    """Whether someone judged the document for the query; empty for pairs."""

    @property
    def num_tokens(self) -> int:
        """Real tokens of both sides."""
        return self.queries.num_tokens + self.documents.num_tokens


@dataclass(frozen=True)
class HeldOut:
    """Queries to measure with, ranking all documents; grade of a document that nobody judged: 0."""

    queries: Sequence[str]
    grades: Sequence[Mapping[int, float]]
    """For each query: document -> grade."""
    k: int = 10
    documents: Sequence[str] | None = None
    """What is ranked, where it is not what the task learns from."""
    exclude: SeenItems | None = None
    """Documents that are left out of each query's list, such as the item itself."""

    def measure(self, queries_QH: Tensor, documents_IH: Tensor) -> dict[str, float]:
        """Return `ndcg@k` (exponential gains) and `hit_rate@k` (anything relevant) over queries with a relevant one."""
        by_metric = self.measure_each(queries_QH, documents_IH)
        told = ~np.isnan(next(iter(by_metric.values())))
        return {name: float(values_Q[told].mean()) for name, values_Q in by_metric.items() if told.any()}

    def measure_each(self, queries_QH: Tensor, documents_IH: Tensor) -> dict[str, NDArray[np.float64]]:
        """Return the same metrics of each query (Q); NaN where no document is relevant."""
        blocks = [ItemBlock(0, documents_IH)]
        top_QK = exact_topk(queries_QH, blocks, self.k, exclude=self.exclude).indices_QK.numpy()
        ndcgs, hits = [], []
        for top_K, grades in zip(top_QK, self.grades, strict=True):
            grades_K = np.array([grades.get(int(document), 0.0) for document in top_K], dtype=np.float64)
            ndcgs.append(graded_ndcg(grades_K, np.array(list(grades.values()), dtype=np.float64), self.k))
            hits.append(float(grades_K.max(initial=0.0) > 0))
        ndcg_Q, hit_Q = np.array(ndcgs, dtype=np.float64), np.array(hits, dtype=np.float64)
        return {f"ndcg@{self.k}": ndcg_Q, f"hit_rate@{self.k}": np.where(np.isnan(ndcg_Q), np.nan, hit_Q)}


def truncate(vectors_NH: Tensor, dim: int) -> Tensor:
    """Return the leading dimensions (N, dim), scaled to length 1 again."""
    return functional.normalize(vectors_NH[:, :dim], dim=1)


class QueryDocumentTask:
    """Base of the retrieval tasks: the network's pass, R-Drop's divergence, and the held-out measure."""

    def __init__(
        self,
        name: str,
        network: TextNetwork,
        documents: Sequence[str],
        temperature: float,
        held_out: HeldOut | None,
        prefixes: tuple[str, str],
        bfloat16: bool,
    ) -> None:
        """Keep the documents' texts; `prefixes` stand before every query and every document."""
        self.name = name
        self.module = network
        self.documents = documents
        self.temperature = temperature
        self.held_out = held_out
        self._query_prefix, self._document_prefix = prefixes
        self.bfloat16 = bfloat16

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self.module.dim

    def outputs(self, batch: TaskBatch) -> Tensor:
        """Return cosines (Q, D)."""
        return self.compare(self.vectors(batch), batch)

    def vectors(self, batch: TaskBatch) -> tuple[Tensor, Tensor]:
        """Return unit vectors of queries (Q, H) and documents (D, H)."""
        inputs: QueryDocumentBatch = batch.inputs
        return embed_by_length(self.module, inputs.queries), embed_by_length(self.module, inputs.documents)

    def compare(self, vectors: Sequence[Tensor], batch: TaskBatch) -> Tensor:  # noqa: ARG002 # other tasks read it
        """Return cosines (Q, D) of unit vectors, which may be leading dimensions of those of `vectors`."""
        queries_QH, documents_DH = vectors
        with torch.autocast(queries_QH.device.type, enabled=False):
            return queries_QH.float() @ documents_DH.float().T

    def divergence(self, first: Tensor, second: Tensor, batch: TaskBatch) -> Tensor:
        """Return how far apart the two passes' rankings are."""
        allowed_QD = batch.inputs.allowed_QD.to(first.device)
        return softmax_divergence(first, second, self.temperature, allowed_QD)

    def evaluate(self, dimensions: Sequence[int] = ()) -> dict[str, float]:
        """Return the held-out queries' metrics over all documents; with `dimensions` also those of the leading ones,
        as `ndcg@10[dim=64]`.
        """
        if self.held_out is None:
            return {}
        queries_QH, documents_IH = (
            self.embed_queries(self.held_out.queries),
            self.embed_documents(self.held_out.documents),
        )
        found = self.held_out.measure(queries_QH, documents_IH)
        for dim in dimensions:
            measured = self.held_out.measure(truncate(queries_QH, dim), truncate(documents_IH, dim))
            found |= {f"{metric}[dim={dim}]": value for metric, value in measured.items()}
        return found

    def embed_queries(self, queries: Sequence[str]) -> Tensor:
        """Return unit vectors (Q, H) of queries, as the network stands."""
        return embed_texts(self.module, [self._query_prefix + text for text in queries], bfloat16=self.bfloat16)

    def embed_documents(self, documents: Sequence[str] | None = None) -> Tensor:
        """Return unit vectors (I, H) of documents, by default all of the task's, as the network stands."""
        texts = [self._document_prefix + text for text in (self.documents if documents is None else documents)]
        return embed_texts(self.module, texts, bfloat16=self.bfloat16)

    def tokenize_queries(self, queries: Sequence[str]) -> TextBatch:
        """Return queries as tokens."""
        return self.module.tokenize([self._query_prefix + text for text in queries])

    def tokenize_documents(self, documents_D: NDArray[np.int64]) -> TextBatch:
        """Return documents, by index, as tokens."""
        return self.module.tokenize([self._document_prefix + self.documents[row] for row in documents_D])
