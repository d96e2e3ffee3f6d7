"""What a vocabulary is: for each leaf category, the words that its items, queries and reviews are composed from."""

from dataclasses import dataclass
from typing import Final

PRODUCTS: Final = 5
BRANDS: Final = 6
AXIS_SIZES: Final = (4, 4, 3)


@dataclass(frozen=True)
class Leaf:
    """A leaf category in one language.

    `axes` are three attributes, each a name and its values: the first stands before the product in a title, the second
    and third after it. `lead` is the first sentence of a description, with the fields a, b, c, product and use.
    """

    key: str
    path: str
    price: tuple[float, float]
    products: tuple[str, ...]
    axes: tuple[tuple[str, tuple[str, ...]], ...]
    lead: str
    uses: tuple[str, ...]
    features: tuple[str, ...]
    aspects: tuple[str, ...]

    @property
    def department(self) -> str:
        """The language-neutral department, which chooses the brands."""
        return self.key.split(".")[0]


@dataclass(frozen=True)
class Vocabulary:
    """All words of one language: leaves in the same order as in every other language, and brands by department."""

    domain: str
    currency: str
    brands: dict[str, tuple[str, ...]]
    leaves: tuple[Leaf, ...]
    closings: tuple[str, ...]
    praise: tuple[str, ...]
    mixed: tuple[str, ...]
    complaints: tuple[str, ...]
    material_notes: dict[str, tuple[str, ...]]
