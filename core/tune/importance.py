"""The child job that computes the importance of fields: `python -P -m core.tune.importance STUDY_DIR`.

Optuna takes 0.4 s to import, in which no key of the workbench would work. See
`core.processes.child_job`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from core.processes.child_job import run_and_report
from core.tune.study import Study
from core.tune.tpe import importances


class FieldImportance(Struct, frozen=True, kw_only=True, tag=True):
    """A field, and its share in what makes trials good."""

    key: str
    share: float


def measure(path: Path) -> Iterator[FieldImportance]:
    """The fields of the study in `path`, the most important first; none before it has enough results.

    Raises OptunaMissingError, InvalidStudyError, SpaceError.
    """
    for key, share in importances(Study.open(path)).items():
        yield FieldImportance(key=key, share=share)


if __name__ == "__main__":
    sys.exit(run_and_report(lambda: measure(Path(sys.argv[1]))))
