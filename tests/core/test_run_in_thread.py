"""`run_in_thread`: errors of the work reach the caller."""

from __future__ import annotations

import pytest

from core.processes.progress import ProgressMeter
from core.processes.threads import run_in_thread


def test_an_error_of_the_work_is_raised() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(run_in_thread(fail, ProgressMeter(None)))
