import torch
from hypothesis import given
from hypothesis import strategies as st

from pops.prior.conditions import condition_row, drop_conditions, null_conditions, pack

DIM = 4


def test_a_dropped_slot_is_a_zero_token_in_its_place():
    a, b = torch.ones(DIM), torch.full((DIM,), 2.0)
    row = condition_row([a, None, b], DIM)
    assert row.tolist() == [[1.0] * 4, [0.0] * 4, [2.0] * 4]


def test_all_slots_can_be_dropped():
    assert condition_row([None, None], DIM).tolist() == [[0.0] * 4] * 2


def test_text_follows_the_image():
    text = torch.arange(12.0).reshape(3, DIM)
    row = condition_row([torch.ones(DIM)], DIM, text)
    torch.testing.assert_close(row, torch.cat([torch.ones(1, DIM), text]))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_packing_keeps_every_row_and_masks_the_rest(lengths: list[int]):
    rows = [torch.randn(k, DIM) for k in lengths]
    packed = pack(rows)
    assert packed.mask.sum(dim=1).tolist() == lengths
    for tokens, mask, row in zip(packed.tokens, packed.mask, rows, strict=True):
        torch.testing.assert_close(tokens[mask], row)
        assert not tokens[~mask].any()


def test_a_dropped_token_stays_visible():
    assert pack([condition_row([None, None], DIM)]).mask.all()


def test_null_conditions_are_zero_under_the_same_mask():
    conditions = pack([torch.ones(1, DIM), torch.ones(3, DIM)])
    null = null_conditions(conditions)
    assert not null.tokens.any()
    assert torch.equal(null.mask, conditions.mask)


def dropped_share(tokens: torch.Tensor) -> torch.Tensor:
    return (tokens == 0).all(-1).float().mean(0)


def test_conditions_drop_each_alone_with_their_chance():
    generator = torch.Generator().manual_seed(0)
    kept = drop_conditions(torch.ones(200_000, 2, DIM), each=0.25, generator=generator)
    gone = (kept == 0).all(-1)
    torch.testing.assert_close(dropped_share(kept), torch.tensor([0.25, 0.25]), rtol=0, atol=0.01)
    assert abs(gone.all(1).float().mean() - 0.0625) < 0.01  # independent of one another


def test_conditions_drop_all_together_with_their_chance():
    generator = torch.Generator().manual_seed(0)
    kept = drop_conditions(torch.ones(200_000, 3, DIM), all=0.2, generator=generator)
    gone = (kept == 0).all(-1)
    assert torch.equal(gone.any(1), gone.all(1))
    assert abs(gone.all(1).float().mean() - 0.2) < 0.01


def test_a_text_drops_as_one_condition():
    generator = torch.Generator().manual_seed(0)
    kept = drop_conditions(torch.ones(500, 5, DIM), each=0.5, slots=1, generator=generator)
    gone = (kept == 0).all(-1)
    assert torch.equal(gone[:, 1:].any(1), gone[:, 1:].all(1))
    assert not torch.equal(gone[:, 0], gone[:, 1])


def test_nothing_drops_without_a_chance():
    tokens = torch.randn(50, 3, DIM)
    assert torch.equal(drop_conditions(tokens), tokens)


def test_the_same_generator_drops_the_same():
    tokens = torch.ones(50, 3, DIM)
    twice = [
        drop_conditions(tokens, each=0.5, generator=torch.Generator().manual_seed(3))
        for _ in range(2)
    ]
    assert torch.equal(*twice)
