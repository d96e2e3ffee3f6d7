"""Catalog fields that hide in the `attributes` of an item: under which names, and how they are compared."""

from collections.abc import Sequence
from typing import Final

from pyspark.sql import Column
from pyspark.sql import functions as F

TITLE_NAMES: Final = ("title", "name", "product name", "product title", "产品名称", "商品名称", "名称", "标题", "品名")
BRAND_NAMES: Final = (
    "brand",
    "brand name",
    "manufacturer",
    "supplier",
    "品牌",
    "品牌名称",
    "牌子",
    "制造商",
    "厂商",
    "生产商",
)
CATEGORY_NAMES: Final = ("category", "product category", "product type", "分类", "商品分类", "类目", "品类", "类别")
PRICE_NAMES: Final = ("price", "list price", "sale price", "价格", "售价", "单价")

# A number with a decimal point, thousands set apart by commas or not, and nothing but a currency or unit around it.
_PRICE = r"^[^0-9.,-]*([0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?)[^0-9.,]*$"


def attribute(names: Sequence[str], attributes: str = "attributes") -> Column:
    """Return the value of the first of `names` under which the map has one that is not blank, else null.

    Names are compared without case, blanks around them and underscores.
    """
    known = F.array(*(F.lit(name) for name in names))
    ranked = F.transform(
        F.map_entries(attributes),
        lambda entry: F.struct(
            F.array_position(known, F.lower(F.trim(F.translate(entry["key"], "_-", "  ")))).alias("place"),
            entry["key"].alias("key"),
            F.trim(entry["value"]).alias("value"),
        ),
    )
    return F.array_min(F.filter(ranked, lambda e: (e["place"] > 0) & (e["value"] != "")))["value"]


def attribute_price() -> Column:
    """Return the price that an attribute gives; null unless it is one plain positive number such as `¥1,299.00`."""
    digits = F.regexp_replace(F.regexp_extract(attribute(PRICE_NAMES), _PRICE, 1), ",", "")
    price = digits.try_cast("double")
    return F.when(price > 0, price)


def name_key(value: Column) -> Column:
    """Return a name as it is compared: lower case, anything but letters and digits as one blank; null where empty."""
    return F.nullif(F.trim(F.regexp_replace(F.lower(value), r"[^\p{L}\p{M}\p{N}]+", " ")), F.lit(""))
