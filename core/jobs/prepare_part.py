"""Parts of a data preparation on other machines: `python -P -m core.jobs.prepare_part RECIPE I N CONTROL [--attached]`.

Part 0 cleans the documents and makes the vocabulary, part I of N tokenizes every N-th shard. The artifact of a part is
the mark of its completion. RECIPE is a JSON file. CONTROL is a directory: `requeue` in it ends the part between two
shards, for a scheduler that starts it again. --attached: it ends when its standard input is closed, as `ssh` does.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from core.errors import BusyError, as_llmtui_error, log
from core.events import Event, StageSkipped, StageStarted
from core.parsing import read_json
from core.processes.child_job import exit_with_parent
from core.recipe.schema import Recipe
from core.storage.workspace import Workspace

# what takes the data stages is imported where it is needed: the command line reads `PartsStatus`


class PartsStatus(Struct, frozen=True, kw_only=True, tag=True):
    """What there is of a preparation in parts, part 0 first."""

    whole: bool
    """Whether the token shards are complete, so that no part is needed."""
    missing: list[int]
    """Parts whose artifacts are not there. Those of other parts than 0 cannot be there without that of part 0."""
    artifacts: list[str]
    """Paths of the artifacts of all parts; empty while part 0 is missing."""
    bytes: int
    """Of clean text, in all parts; 0 while part 0 is missing."""


def prepare_before(recipe: Recipe, workspace: Workspace, stage: str) -> Iterator[Event]:
    """Make what comes before `stage`. Yields the events of those stages."""
    from core.jobs.prepare import prepare

    with contextlib.closing(prepare(recipe, workspace)) as events:
        for event in events:
            if isinstance(event, StageStarted | StageSkipped) and event.stage == stage:
                return
            yield event


def parts_status(recipe: Recipe, workspace: Workspace, parts: int) -> PartsStatus:
    """What there is; makes nothing."""
    if _tokens(recipe, workspace, None)[0] is not None:
        return PartsStatus(whole=True, missing=[], artifacts=[], bytes=0)
    found, clean = _tokens(recipe, workspace, (0, parts))
    if found is None:
        return PartsStatus(whole=False, missing=list(range(parts + 1)), artifacts=[], bytes=0)
    name = found.artifact.removesuffix(f".part-0-of-{parts}")
    artifacts = [f"{name}.part-{number}-of-{parts}" for number in range(parts + 1)]
    missing = [number for number in range(1, parts + 1) if _tokens(recipe, workspace, (number, parts))[0] is None]
    size = sum(int(clean.facts[f"{split}_bytes"]) for split in ("train", "validation")) if clean else 0
    return PartsStatus(whole=False, missing=missing, artifacts=artifacts, bytes=size)


def _tokens(
    recipe: Recipe, workspace: Workspace, part: tuple[int, int] | None
) -> tuple[StageSkipped | None, StageSkipped | None]:
    """The events that say where the tokens of `part` and the clean documents are; None for what is not there."""
    from core.jobs.prepare import prepare

    clean = None
    with contextlib.closing(prepare(recipe, workspace, part)) as events:
        for event in events:
            if isinstance(event, StageStarted):  # nothing has been made yet
                return None, clean
            if isinstance(event, StageSkipped) and event.stage == "preprocess":
                clean = event
            if isinstance(event, StageSkipped) and event.stage == "tokenize":
                return event, clean
    raise AssertionError("the last stage is there or begins")


def main() -> int:
    from core.jobs.prepare import prepare

    file, number, parts, control, *options = sys.argv[1:]
    os.umask(0o077)
    if options:
        threading.Thread(target=exit_with_parent, daemon=True).start()
    requeue = Path(control) / "requeue"
    requeue.parent.mkdir(parents=True, exist_ok=True)
    requeue.unlink(missing_ok=True)
    try:
        with contextlib.closing(
            prepare(read_json(Path(file), Recipe), Workspace().prepare(), (int(number), int(parts)))
        ) as events:
            for _ in events:
                if requeue.exists():
                    log("the time of the job is over; what is complete is kept")
                    return BusyError.exit_code
    except Exception as caught:
        error = as_llmtui_error(caught)
        log(error.sentence())
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
