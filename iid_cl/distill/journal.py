"""The progress of a memory's update, so that an interrupted update resumes instead of starting over."""

from collections.abc import Callable, Mapping
from typing import Any

from iid_cl.files import State
from iid_cl.memory.exemplars import Exemplars, ExemplarSet
from iid_cl.memory.files import memory_of_state, memory_state


class Journal:
    """Finished distillations of an update, and the state of the current one.

    An update may distil several times: classes of unequal size, older classes condensed again, trials. It depends on
    its seed alone. So when it starts again with a restored journal, finished distillations are handed out in their
    order and the next one resumes where it stopped.

    Args:
        due: whether to save the state of the distillation now.
        save: saves the journal.
    """

    def __init__(self, due: Callable[[], bool], save: Callable[[], None]) -> None:
        self._due = due
        self._save = save
        self._finished: list[Exemplars] = []
        self._handed_out = 0
        self._under_way: State | None = None

    def begin_update(self) -> None:
        """To be called when an update begins, for the first time or again."""
        self._handed_out = 0

    def end_update(self) -> None:
        """To be called when the update's result is in the memory; forgets it here."""
        self._finished, self._handed_out, self._under_way = [], 0, None

    def finished(self) -> ExemplarSet | None:
        """The next distillation's outcome; None if it has not finished yet."""
        if self._handed_out == len(self._finished):
            return None
        memory = self._finished[self._handed_out]
        assert isinstance(memory, ExemplarSet)  # as distilled
        self._handed_out += 1
        return memory

    def under_way(self) -> State | None:
        """The state that the next distillation resumes from, if any; handed out once."""
        state, self._under_way = self._under_way, None
        return state

    def keep(self, state: Callable[[], State]) -> None:
        """Saves the state of the current distillation if that is due."""
        if self._due():
            self._under_way = state()
            self._save()
            self._under_way = None

    def finish(self, memory: ExemplarSet) -> None:
        """Notes the outcome of the current distillation."""
        self._finished.append(memory)
        self._handed_out += 1

    def state_dict(self) -> State:
        """The journal as nested plain values and tensors."""
        return {"finished": [memory_state(memory) for memory in self._finished], "under_way": self._under_way}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores ``state``."""
        self._finished = [memory_of_state(memory) for memory in state["finished"]]
        self._under_way = state["under_way"]
