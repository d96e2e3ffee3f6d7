"""What the documents of items take from elsewhere: the most informative sentences of their reviews."""

import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, StringType

from recsys_batch.rules.texts.review_sentences import choose_review_sentences

# Bounds the row of an item that everyone reviews: 100,000 characters.
_REVIEWS_OF_AN_ITEM = 50
_CHARACTERS_OF_A_REVIEW = 2000


def review_sentences(reviews: DataFrame, items: DataFrame, number: int) -> DataFrame:
    """Return (item_id, sentences): up to `number` sentences of each reviewed item, the most informative first.

    `reviews` (item_id, rating, text, review_time) are the used ones of `reviews.classify_reviews`, none of them later
    than the business date; `items` has item_id and title. The 50 newest reviews of an item are considered, undated ones
    last, and of each the first 2,000 characters.
    """
    newest = Window.partitionBy("item_id").orderBy(
        F.col("review_time").desc_nulls_last(), F.xxhash64("text"), "text", "rating"
    )
    considered = (
        reviews.select("item_id", "rating", F.left("text", F.lit(_CHARACTERS_OF_A_REVIEW)).alias("text"), "review_time")
        # Spark keeps the first rows of a partition only, before and after the shuffle (WindowGroupLimit).
        .withColumn("_place", F.row_number().over(newest))
        .where(f"_place <= {_REVIEWS_OF_AN_ITEM}")
        .groupBy("item_id")
        .agg(F.collect_list(F.struct("rating", "text")).alias("reviews"))
    )

    @F.arrow_udf(ArrayType(StringType()))  # type: ignore[attr-defined, untyped-decorator]
    def choose(reviews: pa.Array, titles: pa.Array) -> pa.Array:
        made = [
            choose_review_sentences(((review["rating"], review["text"]) for review in row), title, number)
            for row, title in zip(reviews.to_pylist(), titles.to_pylist(), strict=True)
        ]
        return pa.array(made, pa.list_(pa.string()))

    titled = considered.join(items.select("item_id", "title"), "item_id")
    return titled.select("item_id", choose("reviews", "title").alias("sentences"))
