"""The changes that the config asks for, as one function from text and generator to text."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from recsys_batch.contracts.block import Block, Share
from recsys_batch.training.augment.attributes import shuffle_attributes
from recsys_batch.training.augment.edits import delete_tokens, swap_tokens
from recsys_batch.training.augment.synonyms import Lexicon, replace_synonyms
from recsys_batch.training.augment.typos import add_typos


class AugmentSettings(Block):
    """How often a text is changed, and how much of it by each kind; 0 leaves a kind out."""

    texts: Share = 0.5
    """Share of the texts that are changed at all."""
    synonyms: Share = 0.0
    """Share of the words with a synonym that are replaced."""
    lexicons: tuple[str, ...] = ()
    """Files of synonyms (formats: `Lexicon.load`)."""
    deletion: Share = 0.0
    swap: Share = 0.0
    typos: Share = 0.0
    """Share of the characters."""
    paraphrases: Share = 0.0
    """Share of the changed texts that are first replaced by one of their paraphrases, where they have some."""
    attributes: bool = False
    """Shuffle lists of attributes."""


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
