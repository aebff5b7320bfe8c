"""The bytes that an update of a memory may use."""

import dataclasses

import pytest

from iid_cl.budget import Budget
from iid_cl.memory.space import Space


def test_a_first_update_finds_nothing_there() -> None:
    space = Space(Budget(ipc=2), 132, 3)
    assert (space.room, space.paying, space.old, dict(space.stands_for)) == (132, 3, None, {})


def test_a_space_stays_what_it_is() -> None:
    space = Space(Budget(ipc=2), 132, 3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        space.room = 5  # type: ignore[misc]
    assert dataclasses.replace(space, paying=0).room == 132
