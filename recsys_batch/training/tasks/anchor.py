"""The anchor: the encoder stays near what it was when training began, on texts that other tasks would move.

Learning without forgetting (Li and Hoiem, 2016, arXiv 1606.09282), with vectors in place of class probabilities: what
the pre-trained encoder knows of nearness, which the labels at hand could not teach it again, outlasts the other tasks.
"""

from collections.abc import Sequence

from recsys_batch.contracts.config.compress import Distillation
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.training.examples.embedding import embed_texts
from recsys_batch.training.tasks.distillation import DistillationTask, TaughtTexts


def anchor_to_start(
    network: TextNetwork, texts: Sequence[str], *, name: str = "anchor", bfloat16: bool = False
) -> DistillationTask:
    """Return a task whose teacher is the network itself, as it is now; the network keeps its dropout.

    `texts`: what the encoder will be asked for, prefixes included, each once. `bfloat16`: compute the teacher's vectors
    with faster arithmetic.
    """
    vectors_NH = embed_texts(network, texts, bfloat16=bfloat16).numpy()
    return DistillationTask(network, TaughtTexts(texts, vectors_NH), Distillation(), name=name, dropout=True)
