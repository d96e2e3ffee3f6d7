"""What determines a vector besides its text, and the fingerprint that names all of it."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from recsys_batch.nn.encoder.pooling import PoolingName, read_pooling
from recsys_batch.nn.encoder.prompts import Kind, read_prompt
from recsys_batch.nn.files.check import fingerprint_model
from recsys_batch.nn.files.dtypes import resolve_dtype

_FINGERPRINT_VERSION = "encoder-2"
# They change how much is run at once or where, or are checks, never a vector; the model counts by its bytes, not by its
# name.
_NO_PART_OF_A_VECTOR = ("model", "revision", "token_budget", "min_cosine")
# How `openvino_int8` rounds (`int8_weights`, `openvino_backbone`): another way gives other vectors.
_INT8_RECIPE = "weights 64, activations 32 in float32"

DtypeName = Literal["auto", "float32", "bfloat16", "float16"]
PoolingChoice = Literal["auto", "mean", "cls", "last"]
BackendName = Literal["torch", "openvino", "openvino_int8"]


@dataclass(frozen=True)
class EncoderSettings:
    """What determines a vector besides its text, and how much is run at once."""

    model: str
    """A directory, `package:NAME`, or a hub id (see `resolve_model`)."""
    revision: str | None = None
    """Commit of a hub id."""
    max_tokens: int = 128
    """Longer texts are cut to this many tokens, special tokens included."""
    token_budget: int = 0
    """Most padded tokens in one forward pass, 0: as many as suit the device; changes speed and memory, never a
    vector."""
    pooling: PoolingChoice = "auto"
    """`auto` follows the model's 1_Pooling/config.json, else mean."""
    normalize: bool = True
    """Scale vectors to length 1."""
    dimensions: int = 0
    """Keep only so many leading dimensions (of a model trained for that), before normalization; 0: all."""
    dtype: DtypeName = "float32"
    """Arithmetic of the network; vectors come out as float32 always. `auto` is replaced by bfloat16 or float32 where
    the settings are made (see `resolve_dtype`), so that all workers that get them use the same."""
    query_prefix: str | None = None
    """Put before every query, as the model was trained; None: the model's own, if it names one."""
    document_prefix: str | None = None
    """Put before every document; None: the model's own, if it names one."""
    backend: BackendName = "torch"
    """What runs the network; `openvino` and `openvino_int8` need the package openvino and a CPU."""
    min_cosine: float = 0.999
    """Lowest cosine of `openvino_int8` with float32 over `sample_texts` that loading accepts; a check, no part of a
    vector."""

    def __post_init__(self) -> None:
        """Resolve `auto`; raise ValueError for a value outside its range, naming field and value."""
        if self.max_tokens < 1 or self.token_budget < 0 or self.dimensions < 0:
            raise ValueError(
                f"max_tokens ({self.max_tokens}) must be at least 1, token_budget ({self.token_budget}) and dimensions "
                f"({self.dimensions}) at least 0"
            )
        if not 0 <= self.min_cosine <= 1:
            raise ValueError(f"min_cosine must lie in 0..1, not {self.min_cosine}")
        for name, choices in (("dtype", DtypeName), ("pooling", PoolingChoice), ("backend", BackendName)):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, not {getattr(self, name)!r}")
        object.__setattr__(self, "dtype", resolve_dtype(self.dtype))

    def prefix(self, kind: Kind, path: Path) -> str:
        """Return what stands before every text of a kind, for the model files in directory `path`."""
        chosen = self.query_prefix if kind == "query" else self.document_prefix
        return read_prompt(path, kind) if chosen is None else chosen

    def pooling_of(self, path: Path) -> PoolingName:
        """Return the pooling that applies to the model files in directory `path`."""
        return read_pooling(path) if self.pooling == "auto" else self.pooling

    def fingerprint(self, path: Path) -> str:
        """Return a sha256 (64 hex digits) of everything that changes a vector, for the model files in directory `path`.

        The model counts by its bytes, not by its name; `token_budget` and `min_cosine` do not count.
        """
        settings = {name: value for name, value in asdict(self).items() if name not in _NO_PART_OF_A_VECTOR}
        settings["pooling"] = self.pooling_of(path)
        settings["query_prefix"] = self.prefix("query", path)
        settings["document_prefix"] = self.prefix("document", path)
        if self.backend == "openvino_int8":
            settings["int8_recipe"] = _INT8_RECIPE
        parts = [
            _FINGERPRINT_VERSION,
            fingerprint_model(path),
            *(f"{key}={settings[key]!r}" for key in sorted(settings)),
        ]
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
