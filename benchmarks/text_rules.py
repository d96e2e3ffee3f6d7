"""Seconds a million characters of every text rule, from 1 KB to 1 MB of what once took it a power of the length.

Run: python benchmarks/text_rules.py [--sizes 1000 30000 1000000] [--rule NAME]
One JSON line a rule and text; `growth` is the time per character of the largest text over that of the smallest.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import pyarrow as pa

from recsys_batch.rules.texts.clean import canonicalize_ids, clean_text, normalize_query
from recsys_batch.rules.texts.documents import build_document, count_tokens, split_sentences
from recsys_batch.rules.texts.near_duplicates import title_key
from recsys_batch.rules.texts.review_sentences import choose_review_sentences

PIECES = {
    "comments": "<!--",
    "closed comments": "<!---->",
    "tags": "<b>",
    "open tags": "<b ",
    "brackets": "<",
    "entities": "&amp;",
    "one long number": "&#" + "9" * 998,
    "enders": "!",
    "Chinese enders": "。",
    "ender and quote": '!"',
    "quotes": '"',
    "abbreviations": "e.g. ",
    "numbers": "no. 1",
    "marks": "\u0315\u0300",
    "blanks": " \t",
    "one word": "x",
    "digits": "7",
    "Chinese": "手",
    "hidden": "\u2060",
    "levels": " > ",
}


def whole_document(text: str) -> str:
    """The text as every field of an item."""
    fields = ("title", "brand", "category", "description", "attributes", "reviews")
    return build_document(fields, 160, dict.fromkeys(fields[:4], text), {text: text}, [text])


RULES: dict[str, Callable[[str], object]] = {
    "clean_text": clean_text,
    "normalize_query": normalize_query,
    "canonicalize_ids": lambda text: canonicalize_ids(pa.array([text]), "upper"),
    "split_sentences": split_sentences,
    "count_tokens": count_tokens,
    "build_document": whole_document,
    "title_key": title_key,
    "choose_review_sentences": lambda text: choose_review_sentences([(5.0, text), (4.0, "good tea")], "tea", 3),
}


def seconds_a_million(rule: Callable[[str], object], text: str) -> float:
    """Time the rule on the text, again and again until that can be measured."""
    runs, started = 0, time.process_time()
    while runs == 0 or time.process_time() - started < 0.02:
        rule(text)
        runs += 1
    return (time.process_time() - started) / runs / len(text) * 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 30_000, 1_000_000])
    parser.add_argument("--rule", choices=list(RULES), action="append", default=[])
    args = parser.parse_args()
    for name in args.rule or RULES:
        for what, piece in PIECES.items():
            texts = [piece * max(size // len(piece), 1) for size in args.sizes]
            seconds = [seconds_a_million(RULES[name], text) for text in texts]
            line = {"benchmark": f"text_rules {name}", "text": what, "sizes": args.sizes}
            figures = [round(each, 3) for each in seconds]
            print(json.dumps(line | {"seconds_a_million": figures, "growth": round(seconds[-1] / seconds[0], 2)}))


if __name__ == "__main__":
    main()
