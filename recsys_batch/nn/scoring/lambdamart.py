"""LambdaMART (Burges, 2010) by LightGBM: gradient-boosted trees that learn the order of each profile's candidates.

A model is LightGBM's own text, which holds the names of its features; nothing is pickled. Several models, of other
random draws each, may stand behind one another in a file: what counts then is the mean of their scores.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import lightgbm
import numpy as np
import numpy.typing as npt

from recsys_batch.contracts.errors import ConfigError

FloatArray = npt.NDArray[np.float32]
# Rows scored at a time: a feature matrix of 60 columns takes 24 MB.
_ROWS = 100_000
# What a model's text begins with.
_START = re.compile(r"^(?=tree\nversion=)", re.MULTILINE)


@dataclass(frozen=True)
class Shape:
    """How much a model may learn."""

    trees: int = 200
    leaves: int = 31
    learning_rate: float = 0.05
    seed: int = 0
    draws: int = 1
    """Models, each with its own random draws of rows and features."""


class Lambdamart:
    """A trained model; scores mean something within one profile only."""

    def __init__(self, boosters: Sequence[lightgbm.Booster]) -> None:
        """Take LightGBM's models, with the same named features."""
        self._boosters = boosters
        self.names: tuple[str, ...] = tuple(boosters[0].feature_name())

    @classmethod
    def fit(
        cls,
        names: tuple[str, ...],
        rows: Sequence[FloatArray],
        gains_N: npt.NDArray[np.integer],
        sizes_P: npt.NDArray[np.int64],
        shape: Shape,
        num_threads: int = 0,
    ) -> "Lambdamart":
        """Learn the order of the candidates of P profiles, each `sizes_P` in a row, by their gains (0, 1, ...).

        `rows` are the candidates in parts, (N, F) together, which are not copied into one. The same rows in the same
        order give the same model.
        """
        settings = {
            "objective": "lambdarank",
            "lambdarank_truncation_level": 30,
            "learning_rate": shape.learning_rate,
            "num_leaves": shape.leaves,
            "min_data_in_leaf": 50,
            "lambda_l2": 5.0,
            "feature_fraction": 0.5,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "seed": shape.seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
            "num_threads": num_threads,
        }
        data = lightgbm.Dataset(list(rows), gains_N, group=sizes_P, feature_name=list(names), free_raw_data=True)
        made = []
        for draw in range(shape.draws):
            # The first has the draws of `seed` alone.
            drawn = {"bagging_seed": shape.seed + draw, "feature_fraction_seed": shape.seed + draw} if draw else {}
            made.append(lightgbm.train(settings | drawn, data, shape.trees))
        return cls(made)

    def score(self, features: Mapping[str, FloatArray], num_threads: int = 1) -> FloatArray:
        """Return the scores (N,) of candidates with these features, (N,) each; features it does not know are ignored.

        Raises ConfigError where one that it learned from is not given.
        """
        missing = [name for name in self.names if name not in features]
        if missing:
            raise ConfigError(
                f"the ranker was trained with the feature {missing[0]!r}, which this version does not make; train it "
                "again"
            )
        num_rows = len(features[self.names[0]])
        made = [np.zeros(0)]
        for start in range(0, num_rows, _ROWS):
            rows_NF = np.column_stack([features[name][start : start + _ROWS] for name in self.names])
            scores_DN = [np.asarray(each.predict(rows_NF, num_threads=num_threads)) for each in self._boosters]
            made.append(np.mean(scores_DN, axis=0))
        return np.concatenate(made).astype(np.float32)

    def gains(self) -> dict[str, float]:
        """Return each feature's share of what the splits gained, largest first."""
        gains_F = np.sum([each.feature_importance("gain") for each in self._boosters], axis=0)
        shares_F = gains_F / max(float(gains_F.sum()), 1e-12)
        pairs = sorted(zip(self.names, shares_F.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
        return dict(pairs)

    def save(self, file: Path) -> None:
        """Write LightGBM's text, one model behind the other."""
        file.write_text("".join(each.model_to_string() for each in self._boosters), encoding="utf-8")


# Two: a worker may serve a list of another kind next.
@lru_cache(maxsize=4)
def read_model(file: str) -> Lambdamart:
    """Return the model in a file that `save` wrote; once per process. Raises ConfigError where it is none."""
    try:
        texts = [text for text in _START.split(Path(file).read_text(encoding="utf-8")) if text]
        return Lambdamart([lightgbm.Booster(model_str=text) for text in texts])
    except (lightgbm.basic.LightGBMError, IndexError) as error:
        raise ConfigError(f"{file}: not a model of LightGBM ({error}); train the ranker again") from error
