"""`train.deadline`: a time of the clock at which a training saves a checkpoint and stops."""

from __future__ import annotations

import datetime
import math


def deadline_time(text: str | None, now: float) -> float:
    """The deadline in seconds since the epoch, in local time; infinity if there is none.

    text: a date and time, such as 2026-11-30T08:00, or a time, such as 08:00, for the next one after `now`. Raises
    ValueError for anything else.
    """
    if text is None:
        return math.inf
    start = datetime.datetime.fromtimestamp(now)
    if "T" in text:
        return datetime.datetime.fromisoformat(text).timestamp()
    time = datetime.time.fromisoformat(text)
    today = datetime.datetime.combine(start.date(), time)
    return (today if today > start else today + datetime.timedelta(days=1)).timestamp()
