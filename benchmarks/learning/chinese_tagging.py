"""Entities in Chinese titles, a tag a character: the pre-trained encoder under a conditional random field."""

import argparse
from pathlib import Path
from typing import Any

from recsys_batch.contracts.config.training import Adversarial, Loop, Optimizer
from recsys_batch.nn.learning.heads import save_head
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.rules.metrics.spans import micro_scores, score_spans
from recsys_batch.training.examples.columns import TaggedTexts
from recsys_batch.training.loop.run import train
from recsys_batch.training.tasks.tagging import TaggingTask, tag_names


def tag(model: Path, titles: dict[str, TaggedTexts], options: argparse.Namespace, name: str) -> dict[str, Any]:
    """Tune on the train part, keep the epoch that is best on the dev part, measure on the published test part; keep
    checkpoints and tagger below the step's name.
    """
    network = TextNetwork.load(model, options.max_tokens)
    task = TaggingTask(
        network, titles["train"], titles["dev"], names=tag_names(titles["train"].tags), chain=True, seed=options.seed
    )
    settings = Loop(
        seed=options.seed,
        epochs=options.tagging_epochs,
        batch_size=32,
        precision="bfloat16",
        metric="tagging.f1",
        adversarial=Adversarial(method="fgm", epsilon=0.5) if options.adversarial else Adversarial(),
        optimizer=Optimizer(learning_rate=5e-4, head_learning_rate=5e-3, layer_decay=0.95),
    )
    result = train([task], settings, options.out / f"{name}-checkpoints")
    target = options.out / f"{name}-model"
    if not target.is_dir():
        network.save(target)
        save_head(task.head, target, {"tags": task.names})
    test = titles["test"]
    by_kind = score_spans(test.tags, task.predict(test.words))
    micro = micro_scores(by_kind)
    print(f"titles: dev F1 {result.best_metric:.4f}; test F1 {micro.f1:.4f} over {micro.num_true} entities")
    for kind, scores in by_kind.items():
        print(f"  {kind:5} precision {scores.precision:.4f}, recall {scores.recall:.4f}, F1 {scores.f1:.4f}")
    return {
        "train_titles": len(titles["train"]),
        "dev_f1": result.best_metric,
        "test_f1": micro.f1,
        "test_precision": micro.precision,
        "test_recall": micro.recall,
        "test_f1_of_types": {kind: scores.f1 for kind, scores in by_kind.items()},
        "best_step": result.best_step,
        "seconds": result.seconds,
    }
