"""What a run says before its first step, against what then happens: memory of the worker, tokens in a given time.

Each shape is a run of its own, as a person would start it. --quick: shorter ones.
"""

from __future__ import annotations

import subprocess

from benchmarks.harness import LLMTUI, Figure, home, options, report
from core.runs.lookup import all_runs
from core.runs.summary import Summary
from core.storage.workspace import Workspace

MINUTES = 0.5
TEXT = ("source.max_bytes=4_000_000", "tokenize.size=4096", "train.evaluate_tokens=4096", "sample.tokens=50")

SHAPES = {
    "0.8M, float32, AdamW": (
        *("model.n_layer=4", "model.n_head=4", "model.n_embd=128", "model.block_size=64", "tokenize.vocabulary=bytes"),
        *("train.batch_size=12", "train.optimizer=adamw", "train.precision=float32"),
    ),
    "the default, bfloat16, Muon": ("train.precision=bfloat16",),
    "14M, bfloat16, AdamW": (
        *("model.n_layer=6", "model.n_head=6", "model.n_embd=384", "model.norm=layer", "model.activation=gelu"),
        *("train.batch_size=16", "train.optimizer=adamw", "train.precision=bfloat16"),
    ),
    "25M, float32, Muon": (
        *("model.n_layer=6", "model.n_head=8", "model.n_embd=512", "train.batch_size=4", "train.precision=float32"),
    ),
}


def ran(overrides: tuple[str, ...]) -> Summary:
    """What a run of the stories' corpus came to. Raises CalledProcessError with what it said."""
    settings = [part for setting in (*TEXT, *overrides) for part in ("--set", setting)]
    subprocess.run([*LLMTUI, "run", "stories", *settings], check=True, capture_output=True)
    return all_runs(Workspace())[0].summary()


def figures(name: str, finished: Summary) -> list[Figure]:
    plan, metric = finished.plan, finished.metric
    assert plan is not None
    result = [
        Figure(
            name=f"{name}: memory",
            value=finished.peak / 2**20,
            unit="MiB",
            ratio=finished.peak / plan.memory.peak,
            at_least=0.85 * plan.memory.peak / 2**20,
            at_most=1.15 * plan.memory.peak / 2**20,
        )
    ]
    if plan.tokens is not None and metric is not None:  # neither is there where a machine is too busy to be timed
        result.append(
            Figure(
                name=f"{name}: tokens",
                value=metric.tokens,
                unit="tokens",
                ratio=metric.tokens / plan.tokens,
                at_least=0.8 * plan.tokens,
                at_most=1.2 * plan.tokens,
            )
        )
    return result


def main() -> int:
    chosen = options(__doc__)
    minutes = MINUTES / 3 if chosen.quick else MINUTES
    with home():
        return report(
            [
                figure
                for name, overrides in SHAPES.items()
                for figure in figures(name, ran((*overrides, f"train.minutes={minutes}")))
            ],
            chosen,
        )


if __name__ == "__main__":
    raise SystemExit(main())
