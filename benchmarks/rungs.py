"""How well the losses at rungs predict which trials will be the best: `python -m benchmarks.rungs [--text input.txt]`.

12 trials of a small model by characters, of the space that a study has without one of its own. Each trains for 300,000
tokens, by each schedule that knows its end, and is evaluated at a ninth and at a third of that, in two ways: as it is
there, undecayed; and after a whole schedule of its own as long, as a decay at the rung would give, which takes as much
training again. For both: the rank correlation with the loss at the end, and how much worse, in bits per byte, the best
trial is that successive halving (12, 4, 1) is left with than the best of all.

--text: tiny Shakespeare instead of the standard library. --quick: three trials of a tenth; it shows that it works.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.harness import Figure, Options, home, options, report
from core.events import Evaluation, Event
from core.jobs.prepare import prepare
from core.model.device import Device
from core.recipe.file import load
from core.recipe.schema import Recipe
from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from core.train.trainer import Trainer
from core.tune.default_space import default_space
from core.tune.halving import rungs
from core.tune.space import Values, read_space, with_values
from core.tune.study_file import Scheduler

TRIALS, TOKENS = 12, 300_000
SCHEDULES = ("cosine", "wsd")
RUNGS = rungs(Scheduler(kind="asha"))

Losses = dict[float, float]
"""Bits per byte of held-out text by the share of the training."""


def base_recipe(text: Path | None, schedule: str, tokens: int) -> Recipe:
    """A model of 64 channels with AdamW, its fields as nanoGPT's run on a processor."""
    source = str(text) if text else "stdlib"
    tables = {"name": "rungs", "source": {"corpus": source}}
    overrides = (
        *("model.n_layer=2", "model.n_head=4", "model.n_embd=64", "model.block_size=64", "train.batch_size=12"),
        *("train.optimizer=adamw", "train.lr=0.002", "train.weight_decay=0.1", f"train.schedule={schedule}"),
        *(f"train.tokens={tokens}", "train.evaluate_every=100000", "train.evaluate_minutes=0", "train.threads=1"),
        *("train.sample_every=100000", "train.sample_minutes=0", "train.checkpoint_every=100000"),
        *("train.checkpoint_minutes=0", "train.device=cpu", "train.precision=float32", "train.minutes=10000"),
    )
    return load(base=tables, preset="shakespeare", overrides=overrides)


def losses_of(recipe: Recipe, tokens: Artifact, stops: Sequence[float]) -> Losses:
    """Train one trial, with stops at rungs, and return its losses there and at its end."""
    import torch

    device = Device(name="cpu", dtype=torch.float32, description="")
    found: Losses = {}
    with tempfile.TemporaryDirectory(prefix="llmtui-rungs-") as directory:
        for stop in (*stops, 1.0):
            events: list[Event] = list(Trainer(recipe, tokens, Path(directory), device, stop_at=stop).run())
            found[stop] = [event for event in events if isinstance(event, Evaluation)][-1].bits_per_byte
    return found


def rank_correlation(left: Sequence[float], right: Sequence[float]) -> float:
    """Spearman's, without ties."""
    ranks = [[sorted(values).index(value) for value in values] for values in (left, right)]
    count = len(left)
    distance = sum(float(a - b) ** 2 for a, b in zip(*ranks, strict=True))
    return 1 - 6 * distance / (count * (count**2 - 1))


def regret(at_rungs: Sequence[Losses], at_end: Sequence[float]) -> float:
    """How much worse the best of those that halving leaves is than the best of all, in bits per byte."""
    left = list(range(len(at_end)))
    for share in RUNGS:
        left = sorted(left, key=lambda trial: at_rungs[trial][share])[: max(1, len(left) // 3)]
    return min(at_end[trial] for trial in left) - min(at_end)


def trials(recipe: Recipe, count: int) -> list[Values]:
    space, rng = read_space(default_space(recipe), recipe), random.Random(1)
    return [space.sample(rng, recipe) for _ in range(count)]


def measure(chosen: Options) -> tuple[list[Figure], dict[str, dict[str, float]]]:
    text = chosen.text.resolve() if chosen.text else None
    count, total = (3, TOKENS // 10) if chosen.quick else (TRIALS, TOKENS)
    figures, table = [], {}
    for schedule in SCHEDULES:
        recipe = base_recipe(text, schedule, total)
        tokens = _tokens(recipe)
        whole, decayed = [], []
        for number, values in enumerate(trials(recipe, count), 1):
            whole.append(losses_of(with_values(recipe, values), tokens, RUNGS))
            short: Losses = {}
            for share in RUNGS:
                shorter = with_values(recipe, values | {"train.tokens": int(share * total)})
                short[share] = losses_of(shorter, tokens, ())[1.0]
            decayed.append(short)
            print(f"{schedule} {number}/{count}", whole[-1], short, file=sys.stderr)
        end = [losses[1.0] for losses in whole]
        for way, at_rungs in (("undecayed", whole), ("decayed", decayed)):
            name = f"{schedule}, {way}"
            correlations = {
                f"rank correlation at {share:.0%}": rank_correlation([losses[share] for losses in at_rungs], end)
                for share in RUNGS
            }
            table[name] = correlations | {"spread of the end": max(end) - min(end)}
            figures.append(Figure(name=f"{name}: regret", value=regret(at_rungs, end), unit="bits/byte"))
    return figures, table


def _tokens(recipe: Recipe) -> Artifact:
    stage = prepare(recipe, Workspace().prepare())
    while True:
        try:
            next(stage)
        except StopIteration as end:
            artifact: Artifact = end.value.tokens
            return artifact


def main() -> int:
    chosen = options(__doc__)
    with home():
        figures, table = measure(chosen)
    return report(figures, chosen, table)


if __name__ == "__main__":
    sys.exit(main())
