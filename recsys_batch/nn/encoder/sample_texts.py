"""A fixed sample of texts of every kind that a shop has, to compare two ways of computing the same vectors.

Made by arithmetic alone, so it is the same on every machine and in every version of Python.
"""

_ENGLISH = (
    *("stainless", "steel", "cotton", "wireless", "charger", "adapter", "slim", "jacket", "replacement", "kit", "for"),
    *("with", "universal", "heavy-duty", "premium", "cable", "relay", "waterproof", "shirt", "running", "shoes"),
    *("the", "easy", "to", "install", "indoor", "outdoor", "lamp", "kettle", "toy", "and", "warranty"),
)
_CHINESE = (
    *("红色", "棉质", "衬衫", "蓝牙", "耳机", "不锈钢", "保温杯", "手机壳", "防水", "运动鞋", "女式", "连衣裙"),
    *("儿童", "玩具", "电源", "适配器", "适用于", "厨房", "的", "和", "加厚", "便携", "充电器", "包邮"),
)
_NUM_TOKENS_SHORT = (1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 10)
_NUM_TOKENS_LONG = (16, 24, 40, 60, 90, 130, 200, 400)
_OTHERS = ("", "x", "的", "!", "[SEP]", "👍🔥", "naïve café €19,99", "مصباح مكتب", "платье красное", "USB-C 1/2-inch ²")


def sample_texts() -> tuple[str, ...]:
    """Return the sample, 64 distinct texts: English, Chinese, both in one, short and long, digits, and rarities."""
    english = [_say(_ENGLISH, length, i, " ") for i, length in enumerate(_NUM_TOKENS_SHORT + _NUM_TOKENS_LONG)]
    chinese = [_say(_CHINESE, length, i, "") for i, length in enumerate(_NUM_TOKENS_SHORT + _NUM_TOKENS_LONG)]
    mixed = [f"{_say(_CHINESE, n, n, '')} {_say(_ENGLISH, n, n, ' ')} {n}00 ml" for n in (1, 2, 4, 8, 20, 50)]
    digits = ["7", "12 V", "3.14159", "1 234 567", "2024-02-29", "4006381333931", " ".join(map(str, range(10, 40)))]
    digits.append("0" * 120)
    return (*english, *chinese, *mixed, *digits, *_OTHERS)


def _say(words: tuple[str, ...], num_words: int, start: int, between: str) -> str:
    """Return words in an order without a short period: steps through the list grow, and each lap starts elsewhere."""
    return between.join(words[(start * 5 + i * (i + 3) // 2 + i // len(words)) % len(words)] for i in range(num_words))
