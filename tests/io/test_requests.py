"""Requests: one or several, and which of them are at fault."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pops.errors import UsageError
from pops.io.requests import as_requests, each_text, narrow


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_all_faulty_items_are_found_and_no_others(faulty: list[bool]) -> None:
    found = narrow(faulty, any)
    assert found == ([i for i, bad in enumerate(faulty) if bad] or list(range(len(faulty))))


def test_a_single_request_is_taken_as_one() -> None:
    one = ("mug.png", Path("wood.png"), None, torch.zeros(4))
    assert as_requests(one) == [one]
    assert as_requests([list(one)]) == [list(one)]
    assert as_requests([one, one]) == [one, one]
    assert as_requests([]) == []


@pytest.mark.parametrize("inputs", ["mug.png", ["mug.png", ("a", "b")]])
def test_what_is_neither_one_request_nor_several_is_refused(inputs: object) -> None:
    with pytest.raises(UsageError, match="neither one request nor a list of requests"):
        as_requests(inputs)  # type: ignore[arg-type]


def test_texts_are_one_for_all_or_one_each() -> None:
    assert each_text("a", 2) == ["a", "a"] and each_text(["a", None], 2) == ["a", None]
    with pytest.raises(UsageError, match="1 texts for 2 requests"):
        each_text(["a"], 2)
