"""What the tests of launch share."""

import os

from iid_cl.launch.on_ray import LOCAL
from tests.runs.helpers import quick_reports

# Ray reads these once in a process, whichever test imports it first
for name, value in LOCAL.items():
    os.environ.setdefault(name, value)

__all__ = ["quick_reports"]
