"""The command of a recipe's [rules]: started when a rule acts, in a session of its own."""

from __future__ import annotations

import os
import subprocess

from core.events import RuleActed
from core.runs.directory import Run

_OURS = ("PYTHONPATH", "PYTHONSAFEPATH", "PYTHONUNBUFFERED", "PYTHONFAULTHANDLER", "PYTHONUTF8", "OMP_NUM_THREADS")
"""Variables that the worker was started with, and that are none of the command's business."""


def start_rule_command(run: Run, event: RuleActed, bits_per_byte: float | None) -> None:
    """Start `rules.command` of `run` with the facts as environment variables; it outlives this process.

    The variables hold numbers, fixed words and the run's own name and path, so that no text of a corpus or of a model
    reaches a shell. bits_per_byte: the latest validation loss. Raises OSError.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _OURS}
    environment |= {
        "LLMTUI_RULE": event.rule,
        "LLMTUI_RUN": run.name,
        "LLMTUI_RUN_DIR": str(run.path),
        "LLMTUI_STEP": str(event.step),
        "LLMTUI_BITS_PER_BYTE": "" if bits_per_byte is None else f"{bits_per_byte:.6f}",
    }
    with run.log.open("ab") as log:
        subprocess.Popen(
            ["/bin/sh", "-c", run.recipe.rules.command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=run.path,
            env=environment,
            start_new_session=True,
        )
