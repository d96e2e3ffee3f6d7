"""A text encoder together with the head that predicts its tokens, for pre-training; one directory holds both.

The encoder is a `TextNetwork` and shares its weights with the whole: other tasks train the same object. What `save`
writes loads as an encoder (`nn.Encoder`, `TextNetwork.load`), and again as a language model, head included.
"""

import copy
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from recsys_batch.contracts.errors import ConfigError, ModelFilesError
from recsys_batch.nn.backbones.padded import ENCODER_HALVES
from recsys_batch.nn.encoder.pooling import PoolingName, read_pooling
from recsys_batch.nn.files.check import check_model_files, read_json
from recsys_batch.nn.files.quiet_loading import quiet_transformers
from recsys_batch.nn.learning.text_network import TextNetwork

LanguageKind = Literal["masked", "causal", "denoising"]
_CLASSES: dict[LanguageKind, str] = {
    "masked": "AutoModelForMaskedLM",
    "causal": "AutoModelForCausalLM",
    "denoising": "AutoModelForSeq2SeqLM",
}
_HEADS = ("cls", "lm_head", "embed_out")


class LanguageModel(nn.Module):
    """`network` is the encoder, `whole` transformers' model that holds it and the head."""

    def __init__(self, whole: nn.Module, folder: Path, max_tokens: int, pooling: PoolingName) -> None:
        """Wrap a transformers language model; `folder` holds its tokenizer's files.

        Raises ConfigError where its encoder or head cannot be told apart.
        """
        super().__init__()
        self.whole = whole
        self.network = TextNetwork(_encoder_of(whole), folder, max_tokens, pooling)

    @classmethod
    def load(
        cls, folder: Path, kind: LanguageKind, max_tokens: int = 128, pooling: PoolingName | None = None, seed: int = 0
    ) -> "LanguageModel":
        """Load float32 weights from a model directory; a head that it lacks starts from random weights by `seed`.

        Raises ModelFilesError where files are missing or unsafe, ConfigError where the model cannot learn this kind.
        """
        check_model_files(folder)
        return cls(_load_whole(folder, kind, seed), folder, max_tokens, pooling or read_pooling(folder))

    @property
    def vocab_size(self) -> int:
        """Number of tokens, of which each has a logit."""
        whole: Any = self.whole
        return int(whole.config.vocab_size)

    def token_logits(self, states_TH: Tensor) -> Tensor:
        """Return logits (T, V) over the vocabulary of encoder states: of the very token (masked), or of the next
        (causal).
        """
        whole: Any = self.whole
        head = next(getattr(whole, name) for name in _HEADS if hasattr(whole, name))
        logits_TV: Tensor = head(states_TH)
        return logits_TV

    def save(self, folder: Path) -> None:
        """Write encoder, head and tokenizer as one model directory, which must be new or empty.

        Raises ModelFilesError where the folder holds something.
        """
        self.network.save(folder, self.whole)


def _load_whole(folder: Path, kind: LanguageKind, seed: int) -> Any:
    import transformers

    model_type = read_json(folder / "config.json").get("model_type")
    model_class: Any = getattr(transformers, _CLASSES[kind])
    with quiet_transformers(), torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            whole, report = model_class.from_pretrained(
                str(folder),
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except Exception as error:
            raise ConfigError(
                f"{folder} (model_type {model_type!r}) cannot be pre-trained with objective {kind!r} ({error}); choose "
                "the objective that fits its type, or another start"
            ) from error
    prefix = f"{whole.base_model_prefix}."
    missing = sorted(n for n in report["missing_keys"] if kind == "denoising" or n.startswith(prefix))
    if missing:
        raise ModelFilesError(f"the weights in {folder} lack {missing[0]!r}; copy the model again")
    whole.config.use_cache = False
    return whole


def _encoder_of(whole: Any) -> nn.Module:
    """Return the part that makes token states; it shares its weights with the whole."""
    import transformers

    if whole.config.is_encoder_decoder:
        name = ENCODER_HALVES.get(whole.config.model_type)
        if name is None:
            raise ConfigError(f"a {whole.config.model_type} encoder-decoder cannot be taken apart; use a T5")
        with torch.device("meta"):
            half = getattr(transformers, name)(copy.deepcopy(whole.config))  # it marks its config as an encoder's
        half.shared, half.encoder = whole.shared, whole.encoder
        return half  # type: ignore[no-any-return]
    encoder: nn.Module = whole.base_model
    if encoder is whole or not any(hasattr(whole, name) for name in _HEADS):
        raise ConfigError(
            f"the head of a {whole.config.model_type} is not known (looked for {', '.join(_HEADS)}); start from a "
            "BERT, RoBERTa, GPT or T5, or pre-train with objective simcse alone"
        )
    return encoder
