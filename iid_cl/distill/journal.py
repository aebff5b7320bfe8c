"""What a memory's update has got done, so that an interrupted one goes on instead of beginning anew."""

from collections.abc import Callable, Mapping
from typing import Any

from iid_cl.files import State
from iid_cl.memory.exemplars import Exemplars, ExemplarSet
from iid_cl.memory.files import memory_of_state, memory_state


class Journal:
    """Finished distillations of an update, and the state of the one under way.

    An update may distil several times: classes of unequal size, older classes condensed again, trials. Everything it
    does depends on its seed alone, so when it is begun again with the journal restored, finished distillations are
    handed out in their order and the next one goes on in the middle.

    Args:
        due: whether the state of a distillation is wanted now.
        save: called as soon as the journal holds it.
    """

    def __init__(self, due: Callable[[], bool], save: Callable[[], None]) -> None:
        self._due = due
        self._save = save
        self._finished: list[Exemplars] = []
        self._handed_out = 0
        self._under_way: State | None = None

    def begin_update(self) -> None:
        """An update begins, for the first time or again."""
        self._handed_out = 0

    def end_update(self) -> None:
        """What it made is in the memory now."""
        self._finished, self._handed_out, self._under_way = [], 0, None

    def finished(self) -> ExemplarSet | None:
        """The next distillation's outcome, where it has been finished before."""
        if self._handed_out == len(self._finished):
            return None
        memory = self._finished[self._handed_out]
        assert isinstance(memory, ExemplarSet)  # as distilled
        self._handed_out += 1
        return memory

    def under_way(self) -> State | None:
        """The state that the next distillation goes on from, if any; handed out once."""
        state, self._under_way = self._under_way, None
        return state

    def keep(self, state: Callable[[], State]) -> None:
        """Offers the state of the distillation under way; it is taken where it is wanted."""
        if self._due():
            self._under_way = state()
            self._save()
            self._under_way = None

    def finish(self, memory: ExemplarSet) -> None:
        """The distillation is done."""
        self._finished.append(memory)
        self._handed_out += 1

    def state_dict(self) -> State:
        """Nested plain values and tensors."""
        return {"finished": [memory_state(memory) for memory in self._finished], "under_way": self._under_way}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over the state of another journal."""
        self._finished = [memory_of_state(memory) for memory in state["finished"]]
        self._under_way = state["under_way"]
