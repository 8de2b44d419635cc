"""The metrics of one training step, read from a run's journal."""

from __future__ import annotations

import contextlib
from pathlib import Path

from core.events import Metric, decode
from core.parsing import ParseError


def metric_of_step(journal: Path, step: int) -> Metric | None:
    """The metrics of `step`; of the last time, if a resumed run took it again. None if there are none.

    Reads the whole journal, and decodes only the lines that may be it.
    """
    wanted, found = b'"step":%d,' % step, None
    with contextlib.suppress(OSError), journal.open("rb") as file:
        for line in file:
            if wanted in line and b'"Metric"' in line:
                with contextlib.suppress(ParseError):
                    event = decode(line)
                    found = event if isinstance(event, Metric) and event.step == step else found
    return found
