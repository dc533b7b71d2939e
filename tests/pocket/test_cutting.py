"""Things cut out of their pictures, and which of them are never shown in training."""

import random

import torch

from pops.operators import GARMENTS as SLOTS
from pops.pocket.world.cutout import SLOT_OF, cut_out, on_white, slots_of
from pops.pocket.world.outfits import random_garments
from pops.pocket.world.split import (
    combination_split,
    combinations,
    held_out,
    held_out_pairs,
    is_held_out_pair,
)
from pops.pocket.world.vocabulary import GARMENTS


def test_a_cut_out_thing_is_centred_on_white():
    picture = torch.zeros(3, 64, 64)
    picture[0, 5:15, 40:50] = 1.0
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[5:15, 40:50] = True
    cut = cut_out(picture, mask, 48)
    assert cut is not None and cut.shape == (3, 48, 48)
    torch.testing.assert_close(cut[:, 0], torch.ones(3, 48), atol=0.02, rtol=0)
    torch.testing.assert_close(cut[:, 24, 24], torch.tensor([1.0, 0.0, 0.0]))
    white = (cut.amin(0) > 0.99).float()
    assert abs(white[:, :24].sum() - white[:, 24:].sum()) < 0.1 * white.sum()


def test_too_little_to_see_is_not_cut_out():
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[3, 3:6] = True
    assert cut_out(torch.zeros(3, 64, 64), mask, 64) is None


def test_what_is_round_a_thing_becomes_white():
    mask = torch.eye(4, dtype=torch.bool)
    found = on_white(torch.zeros(3, 4, 4), mask)
    assert torch.equal(found, 1 - torch.eye(4).expand(3, 4, 4))


def test_every_garment_has_slots_and_shoes_have_two():
    assert set(SLOT_OF) == set(GARMENTS)
    assert all(slot in SLOTS for slots in SLOT_OF.values() for slot in slots)
    mask = torch.zeros(8, 20, dtype=torch.bool)
    mask[2:6, 2:6] = mask[2:6, 12:16] = True
    parts = slots_of("shoes", mask)
    assert parts["left-shoe"].any(0).nonzero().flatten().tolist() == [12, 13, 14, 15]
    assert parts["right-shoe"].any(0).nonzero().flatten().tolist() == [2, 3, 4, 5]
    assert torch.equal(slots_of("bag", mask)["bag"], mask)


def test_a_held_out_pair_is_held_out_in_any_order():
    pairs = held_out_pairs()
    assert 150 < len(pairs) < 250
    assert all(is_held_out_pair(b, a) and is_held_out_pair(a, b) for a, b in pairs)


def test_the_splits_share_nothing():
    assert len(held_out()) + len(held_out("validation")) + len(held_out("train")) == len(
        combinations()
    )
    assert not {*held_out()} & {*held_out("validation")}
    assert not {*held_out_pairs()} & {*held_out_pairs("validation")}
    assert all(combination_split(*one) == "validation" for one in held_out("validation"))


def test_garments_that_are_worn_together_fit():
    rng = random.Random(0)
    for _ in range(50):
        worn = random_garments(rng)
        assert len(set(worn)) == len(worn) and not {"skirt", "trousers"} <= set(worn)
