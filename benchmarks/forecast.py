"""How often forecasts of the final loss hold: `python -m benchmarks.forecast [--text input.txt]`.

A small model is trained on generated stories (with --text: on that text by characters) with each schedule, one after
the other. The journals are then read again up to shares of the training, and the forecast made from each beginning is
compared with the final evaluation.

--quick: a tenth of the steps; it shows that all of it works.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import LLMTUI, Figure, home, options, report
from core.events import Evaluation, Metric
from core.runs.curves import Curves
from core.runs.directory import Run
from core.runs.lookup import all_runs
from core.storage.journal import JournalReader
from core.storage.workspace import Workspace
from core.tune.forecast import forecast_final

STEPS = 500
LR = 4e-3
SCHEDULES = ("cosine", "wsd", "constant")
SHARES = (0.3, 0.5, 0.7, 0.9)
MODEL = (
    *("model.n_layer=2", "model.n_head=2", "model.n_embd=64", "model.block_size=64", "train.batch_size=8"),
    *("train.evaluate_every=20", "train.evaluate_tokens=8192", "train.sample_every=100000", "sample.tokens=10"),
)


class Outcome(NamedTuple):
    """A forecast beside what came of it."""

    share: float
    """Of the training at which it was made."""
    error: float
    """Forecast less final loss, in bits per byte."""
    present_error: float
    """The last evaluation at that point less the final loss: what a person would go by otherwise."""
    width: float
    held: bool


def train(text: Path | None, steps: int, schedule: str) -> None:
    what = [str(text), "--preset", "shakespeare"] if text else ["stories", "--set", "source.max_bytes=2_000_000"]
    settings = (*MODEL, f"train.steps={steps}", "train.minutes=1000", f"train.lr={LR}", f"train.schedule={schedule}")
    command = [*LLMTUI, "run", *what, *(part for setting in settings for part in ("--set", setting))]
    subprocess.run(command, check=True, capture_output=True)


def outcomes(run: Run) -> Iterator[Outcome]:
    """The forecasts from the beginnings of a run that is done."""
    events = list(JournalReader(run.journal).iter_events())
    final = next(event.bits_per_byte for event in events if isinstance(event, Evaluation) and event.final)
    curves, shares = Curves(), list(SHARES)
    for event in events:
        curves.absorb(event)
        if not (isinstance(event, Metric) and shares and event.progress >= shares[0]):
            continue
        share, found = shares.pop(0), forecast_final(curves, run.recipe.train.evaluate_tokens)
        if found is not None and curves.val_bits.last is not None:
            low, high = found.final.low, found.final.high
            present = curves.val_bits.last - final
            yield Outcome(share, found.final.value - final, present, high - low, low <= final <= high)


def main() -> int:
    asked = options(__doc__)
    steps = STEPS // 10 if asked.quick else STEPS
    with home():
        for schedule in SCHEDULES:
            train(asked.text and asked.text.resolve(), steps, schedule)
        found = [outcome for run in all_runs(Workspace()) for outcome in outcomes(run)]
    table = {
        f"at {share:.0%}": {
            "forecasts": float(len(mine)),
            "error": statistics.fmean(abs(one.error) for one in mine),
            "bias": statistics.fmean(one.error for one in mine),
            "without": statistics.fmean(abs(one.present_error) for one in mine),
            "interval": statistics.fmean(one.width for one in mine),
            "held %": 100 * statistics.fmean(one.held for one in mine),
        }
        for share in SHARES
        if (mine := [one for one in found if one.share == share])
    }
    held = statistics.fmean(one.held for one in found)
    least = None if asked.quick else 0.8
    return report([Figure(name="90 % intervals that hold", value=held, unit="", at_least=least)], asked, table)


if __name__ == "__main__":
    raise SystemExit(main())
