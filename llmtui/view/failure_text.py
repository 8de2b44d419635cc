"""Why a run failed or was interrupted, in one wording for the command line and the screens."""

from __future__ import annotations

from typing import NamedTuple

from core.runs.failure import Failure


class FailureText(NamedTuple):
    """A failure as sentences; not sanitised."""

    what: str
    """What happened, and where."""
    kept: str
    """What is not lost."""
    todo: str
    """What the user can do."""

    @property
    def lines(self) -> list[str]:
        """The sentences that are not empty; the first is `what`."""
        return [line for line in self if line]


def failure_text(failure: Failure) -> FailureText:
    """The text of `failure`."""
    where = f"   ({failure.where})" if failure.where else ""
    return FailureText(failure.what + where, failure.kept, failure.todo)
