"""Query to item, and item to item: each query's document against the batch's others and against drawn negatives."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys_batch.nn.learning.contrastive import info_nce
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.training.examples.negatives import Negatives, Pairs
from recsys_batch.training.examples.text_sets import Augment, embed_by_length
from recsys_batch.training.loop.distributed import gather_rows, gather_with_gradients
from recsys_batch.training.loop.task import TaskBatch
from recsys_batch.training.tasks.query_document import HeldOut, QueryDocumentBatch, QueryDocumentTask

_EMPTY = torch.empty(0)


def pairs_from_sessions(sessions: Sequence[Sequence[int]], window: int = 3) -> Pairs:
    """Return (item, item that follows within `window` places) over all sessions, each pair once, none with itself."""
    if window < 1:
        raise ValueError(f"window must be at least 1, not {window}")
    found = {
        (int(first), int(second))
        for session in sessions
        for place, first in enumerate(session)
        for second in session[place + 1 : place + 1 + window]
        if first != second
    }
    table_P2 = np.array(sorted(found), dtype=np.int64).reshape(-1, 2)
    return Pairs(table_P2[:, 0].copy(), table_P2[:, 1].copy())


class RetrievalTask(QueryDocumentTask):
    """InfoNCE over pairs. Documents that are right for a query by any pair never count against it.

    Processes that share a batch share its documents too: each query is told from the documents of all of them.
    """

    def __init__(
        self,
        network: TextNetwork,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: Pairs,
        *,
        negatives: Negatives | None = None,
        temperature: float = 0.05,
        also_right: Pairs | None = None,
        augment: Augment | None = None,
        held_out: HeldOut | None = None,
        prefixes: tuple[str, str] = ("", ""),
        bfloat16: bool = False,
        name: str = "retrieval",
    ) -> None:
        """Learn from `pairs` of positions in `queries` and `documents`.

        `also_right` are no examples, but no negatives either: from item to item, each item with itself. `augment`
        changes a query's text, by the batch's generator. `bfloat16`: mine and measure in it.

        Raises ValueError for a pair outside the texts and a temperature that is not positive.
        """
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, not {temperature}")
        for side, rows, texts in (("query", pairs.query_P, queries), ("document", pairs.document_P, documents)):
            if len(rows) and int(rows.max()) >= len(texts):
                raise ValueError(f"a pair names {side} {int(rows.max())}, and there are {len(texts)}")
        super().__init__(name, network, documents, temperature, held_out, prefixes, bfloat16)
        self.queries = queries
        self.pairs = pairs
        self.negatives = negatives
        self._augment = augment
        self._right = pairs.documents_of_queries(len(queries), also_right)

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.pairs)

    def start_epoch(self, epoch: int) -> None:  # noqa: ARG002 # the same in every epoch but for the weights
        """Mine hard negatives with the network as it stands."""
        if self.negatives is not None and self.negatives.settings.is_mining and len(self):
            self.negatives.mine(self.embed_queries(self.queries), self.embed_documents(), self._right)

    def make_batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> TaskBatch:
        """Return the pairs' queries, and the distinct documents of pairs and negatives."""
        query_Q, answer_Q = self.pairs.query_P[indices], self.pairs.document_P[indices]
        drawn = [self.negatives.draw(int(pair), rng) for pair in indices] if self.negatives else []
        mine = np.unique(np.concatenate([answer_Q, *drawn]))
        documents_D, first_U = self._documents_of_all(mine)
        texts = [self.queries[row] for row in query_Q]
        if self._augment is not None:
            texts = [self._augment(text, rng) for text in texts]
        # A document that several processes have counts once.
        allowed_QD = np.zeros((len(query_Q), len(documents_D)), dtype=bool)
        distinct_U = documents_D[first_U]
        allowed_QD[:, first_U] = self._allowed(query_Q, distinct_U)
        inputs = QueryDocumentBatch(
            self.tokenize_queries(texts),
            self.tokenize_documents(mine),
            allowed_QD=torch.from_numpy(allowed_QD),
            positive_Q=torch.from_numpy(first_U[np.searchsorted(distinct_U, answer_Q)]),
            gains_QD=_EMPTY,
            judged_QD=_EMPTY,
        )
        return TaskBatch(inputs, float(len(indices)), inputs.num_tokens)

    def outputs(self, batch: TaskBatch) -> Tensor:
        """Return cosines (Q, D) of this process's queries and the documents of all processes."""
        inputs: QueryDocumentBatch = batch.inputs
        queries_QH = embed_by_length(self.module, inputs.queries)
        documents_DH = gather_with_gradients(embed_by_length(self.module, inputs.documents).float())
        with torch.autocast(queries_QH.device.type, enabled=False):
            return queries_QH.float() @ documents_DH.T

    def loss(self, outputs: Tensor, batch: TaskBatch) -> Tensor:
        """Return the sum of the pairs' cross-entropies."""
        inputs: QueryDocumentBatch = batch.inputs
        device = outputs.device
        return info_nce(outputs, inputs.positive_Q.to(device), self.temperature, inputs.allowed_QD.to(device))

    def _documents_of_all(self, mine: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the documents (D) of all processes' batches as `outputs` has them, and each one's first place (U)."""
        gathered = gather_rows(torch.from_numpy(mine).to(self.module.device)[:, None])
        documents_D: NDArray[np.int64] = gathered[:, 0].cpu().numpy()
        return documents_D, np.unique(documents_D, return_index=True)[1].astype(np.int64)

    def _allowed(self, query_Q: NDArray[np.int64], documents_D: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return false where a document is right for the query."""
        allowed_QD = np.ones((len(query_Q), len(documents_D)), dtype=bool)
        for row, query in enumerate(query_Q):
            right = self._right.item_indices[self._right.indptr[query] : self._right.indptr[query + 1]]
            columns = np.searchsorted(documents_D, right)
            is_here = (columns < len(documents_D)) & (documents_D[np.minimum(columns, len(documents_D) - 1)] == right)
            allowed_QD[row, columns[is_here]] = False
        return allowed_QD
