"""Processes that must not outlive the one that started them. Imports nothing slow."""

import multiprocessing
import os
import threading
from multiprocessing.connection import wait


def end_with_parent() -> None:
    """Ends this process of :mod:`multiprocessing` as soon as its parent is gone, even if that is killed.

    Nobody would take its results.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None  # else this is no such process

    def watch(sentinel: int) -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, args=(parent.sentinel,), daemon=True).start()
