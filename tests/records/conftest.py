"""What the tests of records share."""

from tests.runs.helpers import quick_reports

__all__ = ["quick_reports"]
