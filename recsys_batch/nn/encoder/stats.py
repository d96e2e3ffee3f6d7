"""What an encoder has done since it was loaded."""

from dataclasses import dataclass


@dataclass
class EncoderStats:
    """Counters of one encoder; `seconds` is the time of forward passes, tokenization only where it held them up."""

    texts: int = 0
    tokens: int = 0
    unknown: int = 0
    """Tokens that stand for what the vocabulary has no piece for: the vector knows nothing of it."""
    slots: int = 0
    """Tokens that attention saw, padding included; linear layers of the packed BERT see `tokens` only."""
    batches: int = 0
    out_of_memory: int = 0
    retried: int = 0
    """Texts encoded once more in float32 because their vector was not finite."""
    without_vector: int = 0
    flops: float = 0.0
    """Operations that the real tokens needed."""
    seconds: float = 0.0

    @property
    def padded_share(self) -> float:
        """Share of the tokens seen by attention that are padding."""
        return 1 - self.tokens / self.slots if self.slots else 0.0

    def count_batch(self, tokens: int, slots: int, pads: bool, flops: float) -> None:
        """Add one forward pass."""
        self.batches += 1
        self.tokens += tokens
        self.slots += slots if pads else tokens
        self.flops += flops
