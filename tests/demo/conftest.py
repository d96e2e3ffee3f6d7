"""One small shop, generated without Spark, shared by the tests."""

import numpy as np
import pyarrow as pa
import pytest

from recsys_batch.demo.catalog import Catalog, build_catalog
from recsys_batch.demo.spec import ShopSpec
from recsys_batch.demo.tables import make_events
from recsys_batch.demo.tastes import Tastes, draw_tastes


@pytest.fixture(scope="session")
def shop_spec() -> ShopSpec:
    return ShopSpec(num_users=1500, num_items=900, num_days=40, seed=11)


@pytest.fixture(scope="session")
def catalog(shop_spec: ShopSpec) -> Catalog:
    return build_catalog(shop_spec)


@pytest.fixture(scope="session")
def tastes(shop_spec: ShopSpec) -> Tastes:
    return draw_tastes(shop_spec, np.arange(shop_spec.num_users))


@pytest.fixture(scope="session")
def event_table(shop_spec: ShopSpec) -> pa.Table:
    return pa.Table.from_batches([make_events(shop_spec, np.arange(shop_spec.num_users))])
