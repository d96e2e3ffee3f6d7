"""Arrow schemas of what crosses between Spark and the worker tasks, and Spark DDL of the tables written."""

import pyarrow as pa

TEXTS = pa.schema([("text_key", pa.string()), ("text", pa.string())])
# Of vector and reason (why the text has none) exactly one is null.
VECTORS = pa.schema([("text_key", pa.string()), ("vector", pa.list_(pa.float32())), ("reason", pa.string())])
# The same where `encoder.storage` is float16: the vector in one of two columns (`rules.vector_storage`).
PACKED_VECTORS = VECTORS.append(pa.field("vector_f16", pa.binary()))

# A profile is whatever gets a list: a user, a query, an item or a request.
_PROFILE_FIELDS = [
    ("key", pa.string()),
    # Newest first: in profiles the items' lasting `item_index`, from candidates on their row in the night's item index.
    ("history", pa.list_(pa.int32())),
    ("history_weights", pa.list_(pa.float32())),
    ("history_codes", pa.list_(pa.int8())),  # columns.EVENT_TYPE_CODES
]
# What a ranker knows of the profile besides, null where there is none: one entry an item and day, newest first.
_ACT_FIELDS = [
    ("acts", pa.list_(pa.int32())),  # items, as in the history
    ("act_ages", pa.list_(pa.float32())),  # days
    ("act_weights", pa.list_(pa.float32())),  # of the strongest event type
    ("act_bought", pa.list_(pa.bool_())),
]
# Of who asks for something, null for everyone else.
_QUERY_FIELDS = [
    ("query", pa.string()),
    ("searched", pa.string()),  # where it differs from the query: words were corrected
    ("terms", pa.list_(pa.string())),  # what to look for in the search index
    ("term_weights", pa.list_(pa.float32())),
    ("term_words", pa.list_(pa.string())),  # the word that each term stands for
    ("term_needed", pa.list_(pa.bool_())),  # whether an item without it lacks something of the query
    ("category", pa.string()),  # of most of what its words find
    ("known_share", pa.float32()),  # of what it asks for, that any item has
]
PROFILES = pa.schema(
    [
        *_PROFILE_FIELDS,
        *_ACT_FIELDS,
        *_QUERY_FIELDS,
        ("seen", pa.list_(pa.int32())),
        ("vector", pa.list_(pa.float32())),
    ]
)
CANDIDATES = pa.schema(
    [
        *_PROFILE_FIELDS,
        *_ACT_FIELDS,
        *_QUERY_FIELDS,
        ("vector", pa.list_(pa.float32())),
        ("items", pa.list_(pa.int32())),
        # Bit s is set where source s of columns.CANDIDATE_SOURCES proposed the item; the shop's own come behind.
        ("proposed", pa.list_(pa.int32())),
        ("content", pa.list_(pa.float32())),
        ("covisitation", pa.list_(pa.float32())),
        ("popularity", pa.list_(pa.float32())),
        # Of queries (`rules.search.combine.Evidence`), and how far their cosines can be believed; null for all others.
        ("words", pa.list_(pa.float32())),
        ("meaning", pa.list_(pa.float32())),
        ("searchers", pa.list_(pa.float32())),
        ("likeness", pa.list_(pa.float32())),
        ("category_share", pa.list_(pa.float32())),
        ("trust", pa.float32()),
    ]
)
SCORED = pa.schema(
    [
        *_PROFILE_FIELDS,
        *_QUERY_FIELDS,
        ("items", pa.list_(pa.int32())),  # best first
        ("proposed", pa.list_(pa.int32())),
        ("scores", pa.list_(pa.float32())),
        ("main_source", pa.list_(pa.int8())),  # index in columns.CANDIDATE_SOURCES of the source of most of the score
    ]
)
_CORRECTION = pa.struct([("word", pa.string()), ("becomes", pa.string())])
# One row a query of the night: how it was read (`rules.search.understanding`), for people and for `retrieve`.
UNDERSTOOD = pa.schema(
    [
        ("query", pa.string()),
        ("searched", pa.string()),  # the query as it is searched: corrected
        ("language", pa.string()),
        ("corrections", pa.list_(_CORRECTION)),
        ("unknown", pa.list_(pa.string())),
        ("models", pa.list_(pa.string())),
        ("brands", pa.list_(pa.string())),
        ("category", pa.string()),
        ("category_share", pa.float32()),
        ("found_by", pa.string()),
        ("known_share", pa.float32()),  # of what it asks for, that any item has
        ("num_items", pa.int32()),  # that hold any of its terms
        ("terms", pa.list_(pa.string())),
        ("term_weights", pa.list_(pa.float32())),
        ("term_words", pa.list_(pa.string())),
        ("term_needed", pa.list_(pa.bool_())),
    ]
)
SEARCH_INDEX = pa.schema([("items", pa.int64()), ("terms", pa.int64()), ("postings", pa.int64())])
REASON = pa.struct([("kind", pa.string()), ("anchor", pa.string()), ("text", pa.string())])
RANKED = pa.schema(
    [
        ("key", pa.string()),
        ("rank", pa.int32()),
        ("item", pa.string()),
        ("score", pa.float32()),
        ("sources", pa.list_(pa.string())),
        ("reason", REASON),
    ]
)
# One row a profile of an earlier date: its candidates' features end to end, and which of them were acted on after it.
EXAMPLES = pa.schema(
    [
        ("key", pa.string()),
        ("features", pa.list_(pa.float32())),
        ("labels", pa.list_(pa.float32())),
        ("num_targets", pa.int32()),  # with those that no source proposed
    ]
)
PAIRS = pa.schema([("item", pa.int32()), ("neighbor", pa.int32()), ("weight", pa.float64())])

GATE_DDL = "STRUCT<table: STRING, check: STRING, value: DOUBLE, threshold: DOUBLE, verdict: STRING>"
RELEASES_DDL = (
    "release_id STRING, ds DATE, run_id STRING, action STRING, published_at TIMESTAMP, tables MAP<STRING, BIGINT>, "
    f"row_counts MAP<STRING, BIGINT>, gates ARRAY<{GATE_DDL}>, input_versions MAP<STRING, STRING>, config_hash STRING, "
    "code_version STRING, model_versions MAP<STRING, STRING>, replaces STRING, prepared_run STRING"
)
PUBLICATIONS_DDL = f"{RELEASES_DDL}, lists ARRAY<STRING>"
QUALITY_METRICS_DDL = (
    "ds DATE, run_id STRING, `table` STRING, `check` STRING, value DOUBLE, threshold DOUBLE, verdict STRING"
)
# How a run ended: `seconds` by stage, `counts` as `<stage>.<what>`, throughput of encoding among them.
RUN_STATUS_DDL = (
    "ds DATE, run_id STRING, state STRING, message STRING, seconds MAP<STRING, DOUBLE>, counts MAP<STRING, DOUBLE>, "
    "finished_at TIMESTAMP"
)
# `vector` or, packed as float16, `vector_f16`; neither where there is a `reason`. `encoded_at` is null in rows of older
# versions.
EMBEDDINGS_DDL = (
    "text_key STRING, vector ARRAY<FLOAT>, reason STRING, fingerprint STRING, vector_f16 BINARY, encoded_at TIMESTAMP"
)
# Vectors that no retained night uses, since when that is known, and once they are being removed, which of their rows:
# those encoded before `remove_before` (`spark.orphans`).
EMBEDDING_ORPHANS_DDL = "text_key STRING, fingerprint STRING, marked_at TIMESTAMP, remove_before TIMESTAMP"

# Users that asked to be forgotten, by keyed hashes (`rules.suppression`); `key_check` tells which key made them.
SUPPRESSED_USERS_DDL = "user_hash STRING, key_check STRING, suppressed_at TIMESTAMP"
# One row a user and run of `forget_user`. `tables`: rows deleted from each. `state`: `proven` where the scan found
# neither the id nor its pseudonym in any file of the lake, else `pending`, with some of the `files` that show one.
FORGET_CERTIFICATES_DDL = (
    "user_hash STRING, state STRING, purged_at TIMESTAMP, tables MAP<STRING, BIGINT>, models ARRAY<STRING>, "
    "files_scanned BIGINT, bytes_scanned BIGINT, files_found BIGINT, files ARRAY<STRING>, scanned_at TIMESTAMP"
)
SCANNED_FILES = pa.schema([("path", pa.string()), ("length", pa.int64()), ("found", pa.list_(pa.int32()))])

# What a data catalog shows of the published list tables; no column of theirs but those of LIST_NULLABLE is ever null.
LIST_COMMENTS = {
    "ds": "business date",
    "user_id": "who gets the list; the pseudonym where the shop asks for pseudonyms",
    "query": "search query that the list is for: NFKC, lower case, single blanks",
    "item_id": "recommended item",
    "similar_item_id": "item to show beside the key item",
    "request_id": "request that the list is for",
    "rank": "place in the list, from 1 without gaps",
    "score": "score of the run that made the list; does not rise with rank, comparable within a list only",
    "sources": "candidate sources that proposed the item",
    "reason": "why the item is shown: kind, the item or query that it rests on, and a text for people",
    "model_version": "ranker, where one scored the list, and the encoder that it was made with",
    "run_id": "run that made the list; releases says which one stands",
    "arm": "arm of the experiment that the user is in; null where none runs",
}
LIST_NULLABLE = ("arm",)
LIST_COMMENT = "Ranked lists, one row a key and rank; read a date at the version that its row of releases names."
