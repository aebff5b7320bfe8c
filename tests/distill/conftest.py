"""Published constants are for long runs; these tests are short."""

import pytest

from iid_cl.distill import matching
from iid_cl.distill.embedders import EmbedderQueue


@pytest.fixture(autouse=True)
def small_constants():
    with pytest.MonkeyPatch.context() as patch:  # one that a test's own undo() leaves alone
        patch.setattr(EmbedderQueue, "SIZE", 3)
        patch.setattr(EmbedderQueue, "EVERY", 3)
        patch.setattr(matching, "FREQUENCIES", 32)
        yield
