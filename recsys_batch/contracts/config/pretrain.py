"""Settings of pre-training: what is learned from bare text, by which network, with which tokenizer."""

from typing import Literal

from pydantic import Field, model_validator

from recsys_batch.contracts.config.block import Block, Share
from recsys_batch.contracts.config.models import MODEL_NAME
from recsys_batch.contracts.config.training import Loop, Optimizer

Objective = Literal["masked", "causal", "denoising", "simcse"]
ArchitectureKind = Literal["bert", "gpt", "t5"]

LANGUAGE_OBJECTIVES: dict[Objective, ArchitectureKind] = {"masked": "bert", "causal": "gpt", "denoising": "t5"}
"""Objective that predicts tokens -> the kind of network that can learn it."""


class Architecture(Block):
    """Size of a network made from scratch; with given weights it is theirs."""

    kind: ArchitectureKind = "bert"
    """`bert`: reads both ways; `gpt`: from left to right; `t5`: an encoder that reads both ways, and a decoder."""
    hidden_size: int = Field(256, ge=8)
    num_layers: int = Field(4, ge=1)
    """Of the encoder, and of T5's decoder."""
    num_heads: int = Field(4, ge=1)
    feed_forward: int = Field(0, ge=0)
    """Width of the feed-forward layers; 0: four times `hidden_size`."""
    max_positions: int = Field(128, ge=8)
    """Most tokens of a text (T5 has no limit of its own)."""
    dropout: Share = 0.1

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> "Architecture":
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of num_heads {self.num_heads}; change one")
        return self


class PretrainTokenizer(Block):
    """Tokenizer fitted on the corpus where the network is made from scratch."""

    kind: Literal["auto", "wordpiece", "unigram"] = "auto"
    """`auto`: WordPiece for `bert`, Unigram for `gpt` and `t5`, which needs its sentinels."""
    vocab_size: int = Field(12_000, ge=100)
    """Special tokens included. The corpus must have so many pieces."""
    min_frequency: int = Field(2, ge=1)
    """`wordpiece`: rarer pieces are not joined."""


class Masking(Block):
    """What masked language modeling hides (Devlin et al., 2019), and what span denoising cuts out (Raffel et al.,
    2020).
    """

    share: float = Field(0.15, gt=0, lt=1)
    """Of a text's tokens."""
    whole_word: bool = True
    """Hide all tokens of a word together: `##` pieces, and Chinese words as the corpus repeats them."""
    num_words: int = Field(20_000, ge=100)
    """Chinese words that are learned for that."""
    mean_span: float = Field(3.0, ge=1)
    """Denoising: tokens of a span, on average."""


class Pretrain(Block):
    """One pre-training run."""

    objectives: list[Objective] = Field(["masked"], min_length=1)
    """At most one that predicts tokens (masked, causal, denoising); `simcse` alone or beside it."""
    architecture: Architecture = Architecture()
    tokenizer: PretrainTokenizer = PretrainTokenizer()
    masking: Masking = Masking()
    max_tokens: int = Field(64, ge=8)
    """Longer texts are cut into several examples."""
    held_out_share: Share = 0.02
    """Of the corpus, by a hash of the text: the same texts in every run."""
    max_held_out: int = Field(2_000, ge=1)
    """Held-out texts that an evaluation reads."""
    dropout: Share | None = None
    """While pre-training, whatever the network's own is, which tuning finds again; None: its own. A network that sees
    every text a few times only learns more without (0), and faster."""
    temperature: float = Field(0.05, gt=0)
    """`simcse`: of its softmax."""
    loop: Loop = Loop(
        batch_size=128,
        optimizer=Optimizer(learning_rate=1e-3, head_learning_rate=1e-3, layer_decay=1.0, warmup_share=0.06),
    )

    @model_validator(mode="after")
    def _objectives_go_together(self) -> "Pretrain":
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError(f"objectives names one twice: {', '.join(self.objectives)}")
        chosen = [objective for objective in self.objectives if objective in LANGUAGE_OBJECTIVES]
        if len(chosen) > 1:
            kinds = ", ".join(LANGUAGE_OBJECTIVES[objective] for objective in chosen)
            raise ValueError(
                f"objectives {' and '.join(chosen)} need different networks ({kinds}); pre-train with one of them"
            )
        for objective in chosen:
            if LANGUAGE_OBJECTIVES[objective] != self.architecture.kind:
                raise ValueError(
                    f"objective {objective} is learned by architecture.kind {LANGUAGE_OBJECTIVES[objective]}, "
                    f"not {self.architecture.kind}; change one"
                )
        if "denoising" in chosen and self.tokenizer.kind == "wordpiece":
            raise ValueError("objective denoising needs sentinel tokens; set tokenizer.kind to unigram or auto")
        if "simcse" in self.objectives and self.dropout == 0:
            raise ValueError("objective simcse learns from two passes that differ by dropout; set dropout above 0")
        if self.max_tokens > self.architecture.max_positions:
            raise ValueError(
                f"max_tokens {self.max_tokens} exceeds architecture.max_positions {self.architecture.max_positions}"
            )
        return self


class TextFiles(Block):
    """Texts of a file or folder, which need no labels."""

    path: str = Field(min_length=1)
    """`.txt` (a text a line), `.csv`, `.tsv` (both also `.gz`), `.parquet`, `.arrow`, `.feather`, or a folder of
    Parquet files; relative to the working directory."""
    columns: list[str] = []
    """Of tables: the columns that make a text, joined by blanks."""


class ShopPretrain(Pretrain):
    """What `jobs/pretrain.py` does: a pre-training run, what it reads, where it starts, and its name.

    The versions lie in `training.registry`, and the device is `training.device`.
    """

    model: str = Field("pretrained", pattern=MODEL_NAME)
    """Name that the versions are registered under. None of them becomes a champion by itself."""
    start: str = ""
    """Model to go on from, named as in `encoder.model`; empty: a new network and tokenizer, made of the corpus."""
    start_revision: str = ""
    """Commit, where `start` is a hub id."""
    split: str = "time"
    """Which of `datasets.splits` gives texts: those of its part train (items, queries, reviews); none where empty."""
    texts: list[TextFiles] = []
    """Further texts."""

    @model_validator(mode="after")
    def _there_are_texts(self) -> "ShopPretrain":
        if not self.split and not self.texts:
            raise ValueError("pretrain.split and pretrain.texts are both empty; name a split, files of texts, or both")
        return self
