"""Requests to the controller of a study, as files in its control directory: its side. The user's is `core.tune.start`.

stop  pause          while they exist
add-*.json           a trial inserted by hand
promote-7  drop-7    about the trial of that number
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from core.errors import log
from core.parsing import ParseError, read_json
from core.runs.run_file import TrialOrigin
from core.tune.space import Values
from core.tune.trials import Trial


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A trial inserted by hand, add-*.json."""

    values: Values
    origin: TrialOrigin = "inserted"
    seed: int | None = None
    """train.seed; None: that of the recipe."""
    id: str = ""
    """Recorded with its trial: a request that is read twice, or moved in the queue meanwhile, is one trial."""


class StudyRequests:
    """What is in the control directory of a study. Files are left to the caller, who deletes them when done."""

    def __init__(self, control: Path) -> None:
        self._control = control

    @property
    def stop(self) -> bool:
        return (self._control / "stop").exists()

    @property
    def pause(self) -> bool:
        return (self._control / "pause").exists()

    def insertions(self) -> Iterator[tuple[Path, Request]]:
        """Trials to insert, the first one first; files that are none are deleted."""
        for path in sorted(self._control.glob("add-*.json")):
            try:
                yield path, read_json(path, Request)
            except (OSError, ParseError) as error:
                log(f"{path.name} cannot be read: {error}")
                path.unlink(missing_ok=True)

    def about(self, kind: str, trials: Mapping[int, Trial]) -> Iterator[tuple[Path, Trial]]:
        """The trials that requests KIND-NUMBER are about; those of no trial are deleted."""
        for path in sorted(self._control.glob(f"{kind}-*")):
            number = path.name.removeprefix(f"{kind}-")
            trial = trials.get(int(number)) if number.isdecimal() and len(number) < 10 else None
            if trial:
                yield path, trial
            else:
                path.unlink(missing_ok=True)
