"""Search in a Chinese shop: the pre-trained encoder learns from titles alone what a query of two words means.

Pairs are phrases of titles, and a brand with 手机 or a phone's own name for the phones of the brands Apple, Xiaomi and
Honor by their category. Nothing is made of the category that the test query names, and no pair's query holds both
Huawei's name and 手机, so that the test query is a new combination.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.learning.chinese_data import TEST_QUERY, Goods, make_pairs
from recsys_batch.contracts.config.training import Loop, Optimizer
from recsys_batch.nn.encoder.encoder import Encoder, EncoderSettings
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.training.examples.negatives import Negatives, NegativeSettings
from recsys_batch.training.loop.run import train
from recsys_batch.training.pretrain.words import WordSplitter
from recsys_batch.training.tasks.retrieval import RetrievalTask

FIRST = 10


def search(model: Path, goods: Goods, options: argparse.Namespace) -> dict[str, Any]:
    """Tune on the pairs, encode with the tuned network's saved files, rank all goods for the test query."""
    words = WordSplitter.load(model.parent / "words.json")
    made = make_pairs(goods, words, 200 if options.quick else 6_000, options.seed)
    network = TextNetwork.load(model, options.max_tokens)
    negatives = Negatives(NegativeSettings(hard=2, depth=50, keep=10), made.pairs, len(goods.texts))
    task = RetrievalTask(
        network, made.queries, goods.texts, made.pairs, negatives=negatives, also_right=made.also_right, bfloat16=True
    )
    settings = Loop(
        seed=options.seed,
        epochs=options.search_epochs,
        batch_size=48,
        precision="bfloat16",
        optimizer=Optimizer(learning_rate=3e-4, layer_decay=0.95),
    )
    untuned = rank(model, goods)
    result = train([task], settings, options.out / "search-checkpoints")
    target = options.out / "searcher"
    shutil.rmtree(target, ignore_errors=True)
    network.save(target)
    order = rank(target, goods)
    report(order, goods)
    return {
        "pairs": len(made.pairs),
        "goods": len(goods.texts),
        "huawei_phones": int(goods.is_huawei_phone.sum()),
        "huawei_phones_in_first_10_untuned": int(goods.is_huawei_phone[untuned[:FIRST]].sum()),
        "huawei_phones_in_first_10": int(goods.is_huawei_phone[order[:FIRST]].sum()),
        "ranks_of_huawei_accessories": ranks(order, goods.is_huawei_accessory),
        "first_rank_of_another_phone": ranks(order, goods.is_other_phone)[0],
        "last_rank_of_a_huawei_phone": ranks(order, goods.is_huawei_phone)[-1],
        "seconds": result.seconds,
    }


def rank(model: Path, goods: Goods) -> np.ndarray:
    """Return the goods in the order of their cosine with the test query, as the night's encoder gives it."""
    encoder = Encoder.load(EncoderSettings(str(model), max_tokens=64), model)
    scores_I = encoder.encode_documents(goods.texts) @ encoder.encode_queries([TEST_QUERY])[0]
    return np.argsort(-scores_I, kind="stable")


def ranks(order: np.ndarray, is_wanted: np.ndarray) -> list[int]:
    """Return the places, from 1, at which wanted goods stand."""
    return (np.flatnonzero(is_wanted[order]) + 1).tolist()


def report(order: np.ndarray, goods: Goods) -> None:
    """Print the first ten, and where accessories and other brands' phones stand."""
    print(f"{TEST_QUERY}: the first {FIRST} of {len(order)}; * Huawei phone, a Huawei accessory, o other phone")
    for place, row in enumerate(order[:FIRST], 1):
        marks = (("*", goods.is_huawei_phone), ("a", goods.is_huawei_accessory), ("o", goods.is_other_phone))
        mark = next((mark for mark, found in marks if found[row]), " ")
        print(f"  {place:2} {mark} {goods.texts[row][:70]}")
    for what, found in (("Huawei accessories", goods.is_huawei_accessory), ("other phones", goods.is_other_phone)):
        places = ranks(order, found)
        shown = ", ".join(map(str, places[:25])) + (" ..." if len(places) > 25 else "")
        print(f"  ranks of {what}: {shown}")
