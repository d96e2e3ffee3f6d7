"""A tiny shop's texts, Chinese and English, made by rule: what follows a word can be learned."""

import numpy as np

BRANDS, SHADES, THINGS = ("华为", "小米", "苹果"), ("红色", "黑色", "蓝色"), ("手机", "耳机", "平板电脑")


def shop_texts(num: int, seed: int = 0) -> list[str]:
    """Distinct titles such as 华为红色手机 model a7b; a brand always comes with its own English name."""
    rng = np.random.default_rng(seed)
    english = ("huawei", "xiaomi", "apple")
    found: dict[str, None] = {}
    while len(found) < num:
        brand = int(rng.integers(3))
        model = "".join(rng.choice(list("abcdefgh"), 3))
        found[f"{BRANDS[brand]} {english[brand]} {rng.choice(SHADES)}{rng.choice(THINGS)} {model}"] = None
    return list(found)
