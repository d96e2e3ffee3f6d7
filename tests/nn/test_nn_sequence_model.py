"""The sequence model against its promises: later events, padding and other users never matter, unknown items work."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from recsys_batch.contracts.errors import ModelFilesError
from recsys_batch.nn.scoring.sequence_model import Histories, ItemTable, SequenceModel, SequenceShape
from recsys_batch.nn.scoring.topk import ItemBlock, exact_topk
from recsys_batch.nn.scoring.user_models import (
    FixedUserModel,
    JoinedUserModel,
    load_sequence_model,
    save_sequence_model,
)

NUM_ITEMS, NUM_KNOWN, WIDTH = 12, 9, 6
SHAPE = SequenceShape(WIDTH, NUM_KNOWN, dim=8, layers=2, heads=2, num_events=3)


def make_table(seed: int = 0) -> ItemTable:
    """The last three items were never seen in training."""
    content_IC = torch.randn(NUM_ITEMS, WIDTH, generator=torch.Generator().manual_seed(seed))
    residual_I = torch.tensor([*range(NUM_KNOWN), -1, -1, -1])
    return ItemTable(functional.normalize(content_IC, dim=1), residual_I)


def make_model(seed: int = 0, shape: SequenceShape = SHAPE) -> SequenceModel:
    """A model whose every parameter is away from its starting value, so that nothing is tested at 0."""
    model = SequenceModel(shape, torch.arange(shape.num_residuals), seed).eval()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def make_histories(lengths: list[int], seed: int, length: int | None = None) -> Histories:
    generator = torch.Generator().manual_seed(seed)
    length = length or max(1, *lengths)
    shape = (len(lengths), length)
    mask_BL = torch.arange(length)[None] < torch.tensor(lengths)[:, None]
    return Histories(
        torch.randint(NUM_ITEMS, shape, generator=generator).masked_fill(~mask_BL, -1),
        torch.randint(3, shape, generator=generator),
        (torch.rand(shape, generator=generator) * 1e6).round(),
    )


@settings(max_examples=25, deadline=None)
@given(length=st.integers(2, 8), place=st.integers(0, 6), seed=st.integers(0, 1000))
def test_later_events_never_change_earlier_states(length: int, place: int, seed: int) -> None:
    place = min(place, length - 2)
    first, second = make_histories([length], seed), make_histories([length], seed + 1)
    kept = place + 1
    mixed = Histories(
        *(
            torch.cat([getattr(first, f.name)[:, :kept], getattr(second, f.name)[:, kept:]], 1)
            for f in dataclasses.fields(Histories)
        )
    )
    model, table = make_model(), make_table()
    with torch.no_grad():
        before, after = model.states(first, table), model.states(mixed, table)
    torch.testing.assert_close(after[:, :kept], before[:, :kept])


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=4), more=st.integers(0, 5), seed=st.integers(0, 1000))
def test_padding_and_other_users_change_nothing(lengths: list[int], more: int, seed: int) -> None:
    histories = make_histories(lengths, seed)
    model, table = make_model(), make_table()
    with torch.no_grad():
        together = model.vectors(
            Histories(
                functional.pad(histories.items_BL, (0, more), value=-1),
                functional.pad(histories.events_BL, (0, more), value=77),
                functional.pad(histories.gaps_BL, (0, more), value=float("nan")),
            ),
            table,
        )
        for row, length in enumerate(lengths):
            alone = Histories(
                histories.items_BL[row : row + 1, : max(1, length)],
                histories.events_BL[row : row + 1, : max(1, length)],
                histories.gaps_BL[row : row + 1, : max(1, length)],
            )
            torch.testing.assert_close(together[row], model.vectors(alone, table)[0], rtol=1e-4, atol=1e-4)


def test_order_kind_and_time_of_events_matter() -> None:
    model, table = make_model(), make_table()
    items_BL, zeros = torch.tensor([[1, 2, 3]]), torch.zeros(1, 3)
    plain = Histories(items_BL, torch.zeros(1, 3, dtype=torch.int64), zeros)
    others = [
        Histories(torch.tensor([[2, 1, 3]]), plain.events_BL, zeros),
        Histories(items_BL, torch.tensor([[0, 2, 0]]), zeros),
        Histories(items_BL, plain.events_BL, torch.tensor([[0.0, 5.0, 86_400.0]])),
    ]
    with torch.no_grad():
        vector = model.vectors(plain, table)
        for other in others:
            assert not torch.allclose(model.vectors(other, table), vector, atol=1e-3)


def test_a_new_model_ranks_by_decayed_cosine() -> None:
    model, table = SequenceModel(dataclasses.replace(SHAPE, content_scale=20.0, num_events=1)).eval(), make_table()
    model.requires_grad_(False)
    histories = Histories(torch.tensor([[4, 7, 2]]), torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, 3))
    scores_I = (model.vectors(histories, table) @ model.item_vectors(table).T)[0]
    content_IC = table.content_IC.numpy()
    wanted_C = content_IC[2] + content_IC[7] / 2 + content_IC[4] / 4
    np.testing.assert_allclose(scores_I.numpy(), 20 * content_IC @ wanted_C, rtol=1e-4, atol=1e-4)


def test_unknown_items_are_their_content() -> None:
    model, table = make_model(), make_table()
    twin = dataclasses.replace(table, content_IC=table.content_IC.clone())
    twin.content_IC[11] = twin.content_IC[10]
    in_history = [
        Histories(torch.tensor([[3, item]]), torch.zeros(1, 2, dtype=torch.int64), torch.zeros(1, 2))
        for item in (10, 11)
    ]
    with torch.no_grad():
        torch.testing.assert_close(model.item_vectors(twin)[10], model.item_vectors(twin)[11])
        torch.testing.assert_close(*(model.vectors(histories, twin) for histories in in_history))
        # A known item with the same text differs by what was learned of it.
        twin.content_IC[3] = twin.content_IC[10]
        assert not torch.allclose(model.item_vectors(twin)[3], model.item_vectors(twin)[10], atol=1e-3)
    assert model.item_vectors(twin)[10, -1].item() == 0.0


def test_training_treats_items_as_unknown_alike_on_both_sides() -> None:
    shape = dataclasses.replace(SHAPE, residual_dropout=0.5, dropout=0.0)
    model, table = make_model(shape=shape).train(), make_table()
    torch.manual_seed(0)
    _, items_IV = model.scored(make_histories([3], 0), table)
    unknown = dataclasses.replace(table, residual_I=torch.full((NUM_ITEMS,), -1))
    plain, learned = model.eval().item_vectors(unknown), model.item_vectors(table)
    items_IV, plain, learned = items_IV[:, :-1], plain[:, :-1], learned[:, :-1]  # less the popularity
    dropped_I = (items_IV == plain).all(1)
    assert 0 < int(dropped_I[:NUM_KNOWN].sum()) < NUM_KNOWN
    torch.testing.assert_close(items_IV[~dropped_I], learned[~dropped_I])


def test_nobody_without_history_is_without_recommendations() -> None:
    user_model = FixedUserModel(make_model(), make_table())
    nothing = Histories(torch.full((2, 1), -1), torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, 1))
    items_IV = user_model.item_vectors()
    top = exact_topk(user_model.vectors(nothing), [ItemBlock(0, items_IV)], NUM_ITEMS)
    # Counts are 0 to 8, and three items were never seen.
    by_count = [8, 7, 6, 5, 4, 3, 2, 1, 0, 9, 10, 11]
    np.testing.assert_array_equal(top.indices_QK.numpy(), [by_count, by_count])


def test_joined_models_score_the_mean() -> None:
    table, histories = make_table(), make_histories([3, 1, 5], 3)
    models = [FixedUserModel(make_model(seed), table) for seed in (1, 2, 3)]
    joined = JoinedUserModel(models)
    wanted = sum(model.vectors(histories) @ model.item_vectors().T for model in models) / 3
    torch.testing.assert_close(joined.vectors(histories) @ joined.item_vectors().T, wanted, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="at least one"):
        JoinedUserModel([])


def test_saved_and_loaded_models_agree(tmp_path: Path) -> None:
    model, table, histories = make_model(), make_table(), make_histories([3, 2], 5)
    save_sequence_model(model, tmp_path / "model")
    again = load_sequence_model(tmp_path / "model")
    assert again.shape == model.shape
    torch.testing.assert_close(again.vectors(histories, table), model.vectors(histories, table), rtol=0, atol=0)


@pytest.mark.parametrize("damage", ["missing", "truncated", "other shape"])
def test_damaged_files_are_refused(tmp_path: Path, damage: str) -> None:
    save_sequence_model(make_model(), tmp_path)
    weights, shape = tmp_path / "sequence_model.safetensors", tmp_path / "sequence_model.json"
    if damage == "missing":
        weights.unlink()
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-40])
    else:
        shape.write_text(shape.read_text().replace('"dim": 8', '"dim": 16'))
    with pytest.raises(ModelFilesError, match="sequence model"):
        load_sequence_model(tmp_path)


@pytest.mark.parametrize("wrong", [{"dim": 9}, {"dropout": 1.0}, {"content_scale": 0.0}, {"layers": -1}])
def test_impossible_shapes_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0]):
        dataclasses.replace(SHAPE, **wrong)
