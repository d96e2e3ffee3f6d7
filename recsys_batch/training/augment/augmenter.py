"""The changes that the config asks for, as one function from text and generator to text."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from recsys_batch.contracts.config.tasks import AugmentSettings
from recsys_batch.training.augment.attributes import shuffle_attributes
from recsys_batch.training.augment.edits import delete_tokens, swap_tokens
from recsys_batch.training.augment.synonyms import Lexicon, replace_synonyms
from recsys_batch.training.augment.typos import add_typos


class Augmenter:
    """Callable: a text and a generator in, the changed text out."""

    def __init__(self, settings: AugmentSettings, paraphrases: Mapping[str, Sequence[str]] | None = None) -> None:
        """Load the lexicons. `paraphrases`: text -> others of its meaning, made beforehand by back-translation.

        Raises ValueError where synonyms are asked for without a lexicon, or paraphrases without any; and what
        `Lexicon.load` raises.
        """
        if settings.synonyms and not settings.lexicons:
            raise ValueError("augment.synonyms needs augment.lexicons; name a file, or set synonyms to 0")
        if settings.paraphrases and not paraphrases:
            raise ValueError("augment.paraphrases needs texts translated there and back; make some, or set it to 0")
        self.settings = settings
        self._paraphrases = paraphrases or {}
        self._lexicon = Lexicon.load([Path(file) for file in settings.lexicons]) if settings.synonyms else None

    def __call__(self, text: str, rng: np.random.Generator) -> str:
        """Return the text, changed or not; never empty where it was not."""
        settings = self.settings
        if rng.random() >= settings.texts:
            return text
        made = text
        others = self._paraphrases.get(text, ())
        if others and rng.random() < settings.paraphrases:
            made = others[int(rng.integers(len(others)))]
        if settings.attributes:
            made = shuffle_attributes(made, rng)
        if self._lexicon is not None:
            made = replace_synonyms(made, settings.synonyms, self._lexicon, rng)
        if settings.deletion:
            made = delete_tokens(made, settings.deletion, rng)
        if settings.swap:
            made = swap_tokens(made, settings.swap, rng)
        if settings.typos:
            made = add_typos(made, settings.typos, rng)
        return made if made.strip() else text
