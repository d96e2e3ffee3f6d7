"""A text said otherwise: to another language and back, through any two sequence-to-sequence models of transformers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from recsys_batch.contracts.errors import ModelFilesError
from recsys_batch.nn.files.check import check_model_files, read_json


class Translator:
    """A translation model, loaded from a directory; not thread-safe."""

    def __init__(self, folder: Path, *, device: str = "cpu", max_tokens: int = 64, num_beams: int = 1) -> None:
        """Load weights and tokenizer, from safetensors and without remote code.

        Raises ModelFilesError where the directory holds no such model.
        """
        import transformers

        check_model_files(folder)
        if not read_json(folder / "config.json").get("is_encoder_decoder"):
            raise ModelFilesError(f"{folder} is no sequence-to-sequence model; name one that translates")
        try:
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
                str(folder), trust_remote_code=False, local_files_only=True
            )
            self._model: Any = transformers.AutoModelForSeq2SeqLM.from_pretrained(
                str(folder), use_safetensors=True, trust_remote_code=False, local_files_only=True
            )
        except Exception as error:
            raise ModelFilesError(f"transformers cannot load the translation model in {folder} ({error})") from error
        self._model.eval().to(device)
        self._device, self._max_tokens, self._num_beams = device, max_tokens, num_beams

    def translate(
        self, texts: Sequence[str], *, seed: int | None = None, temperature: float = 1.0, batch_size: int = 32
    ) -> list[str]:
        """Return each text in the model's target language: the likeliest one, or with a `seed` one drawn at random,
        which gives other words each time. torch's own generator is left as it was.
        """
        drawing = {"do_sample": True, "temperature": temperature} if seed is not None else {"do_sample": False}
        made: list[str] = []
        with torch.inference_mode(), torch.random.fork_rng(enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            for start in range(0, len(texts), batch_size):
                batch = self._tokenizer(
                    list(texts[start : start + batch_size]),
                    padding=True,
                    truncation=True,
                    max_length=self._max_tokens,
                    return_tensors="pt",
                ).to(self._device)
                ids = self._model.generate(
                    input_ids=batch["input_ids"],
                    attention_mask=batch["attention_mask"],
                    max_new_tokens=self._max_tokens,
                    num_beams=self._num_beams,
                    **drawing,
                )
                made += self._tokenizer.batch_decode(ids, skip_special_tokens=True)
        return made


def back_translate(
    texts: Sequence[str], there: Translator, back: Translator, *, seed: int | None = None, temperature: float = 1.0
) -> list[str]:
    """Return each text translated there and back; a text that comes back empty is kept as it was.

    With a `seed` the way there is drawn at random, so that other seeds give other paraphrases.
    """
    abroad = there.translate(texts, seed=seed, temperature=temperature)
    returned = back.translate(abroad)
    return [made.strip() or text for text, made in zip(texts, returned, strict=True)]
