"""How good a model is after so many seconds of training: `python -m benchmarks.quality [--text input.txt]`.

Runs as a person would start them, each by itself. Seconds of training count from the first step on, evaluations and
samples included. Losses are over all held-out text.

- Tiny Shakespeare by characters (with --text: the 1,115,394 characters of char-rnn's input.txt, the last tenth held
  out as nanoGPT does): the `shakespeare` preset after 12 s, the median of five seeds, and after 95 s; and nanoGPT's own
  configuration for a processor, 2,000 steps, of which its README says 1.88.
- The demo's model after 120 s on the standard library, in bits per byte of held-out files.

--quick: one seed, and a tenth of the time; it shows that all of it works.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.harness import LLMTUI, Figure, home, options, report

SEEDS = range(1, 6)
SHORT, LONG, DEMO = 12, 95, 120
"""Seconds of training."""
XZ = 0.85
"""Times the bits per byte of xz that the demo's model takes at most, on any processor of the last ten years."""
NANOGPT = 1.898
"""What nanoGPT's README run for a processor comes to on the whole validation split (its own estimate: 1.886)."""

AS_NANOGPT = {
    **{f"model.{name}": value for name, value in {"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 64}.items()},
    **dict.fromkeys(("model.qk_norm", "model.zero_init", "model.bias"), "false"),
    "model.positions": "learned",
    "model.norm": "layer",
    "model.activation": "gelu",
    "model.tie_embeddings": "true",
    "train.optimizer": "adamw",
    "train.batch_size": 12,
    "train.steps": 2000,
    "train.lr": 1e-3,
    "train.schedule": "cosine",
    "train.lr_final": 0.1,
    "train.warmup": 0.05,
    "train.weight_decay": 0.1,
    "train.beta2": 0.99,
    "train.evaluate_every": 250,
}
"""config/train_shakespeare_char.py with the README's options for a processor."""


def ran(*arguments: str | Path, **overrides: Any) -> dict[str, Any]:
    """What a run came to, as `llmtui show --json` says."""
    settings = [part for key, value in overrides.items() for part in ("--set", f"{key}={value}")]
    command = [*LLMTUI, "run", *map(str, arguments), *settings]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    shown = subprocess.run([*LLMTUI, "show", "--json"], env=os.environ, capture_output=True, check=True)
    summary: dict[str, Any] = json.loads(shown.stdout)
    return summary


def nats(run: dict[str, Any]) -> float:
    """Validation loss over all held-out text, per character."""
    return float(run["summary"]["evaluation"]["loss"])


def shakespeare(text: Path, quick: bool) -> list[Figure]:
    def loss(seconds: float, seed: int = 1) -> float:
        share = 0.1 if quick else 1.0
        limits = {"train.minutes": share * seconds / 60, "train.seed": seed}
        return nats(ran(text, "--preset", "shakespeare", **limits))

    steps = {"train.steps": 200} if quick else {}
    theirs = nats(ran(text, "--preset", "shakespeare", **(AS_NANOGPT | {"train.minutes": 60} | steps)))
    after_short = statistics.median(loss(SHORT, seed) for seed in (SEEDS[:1] if quick else SEEDS))
    return [
        Figure(name="nanoGPT's configuration, 2,000 steps", value=theirs, unit="nats", at_most=None if quick else 1.9),
        Figure(name=f"shakespeare after {SHORT} s", value=after_short, unit="nats", at_most=None if quick else NANOGPT),
        Figure(name=f"shakespeare after {LONG} s", value=loss(LONG), unit="nats", at_most=None if quick else 1.62),
    ]


def demo(quick: bool) -> Figure:
    run = ran("stdlib", "--preset", "demo", **{"train.minutes": (0.1 if quick else 1.0) * DEMO / 60})
    xz = run["summary"]["compression_baselines"]["xz -9"]
    return Figure(
        name=f"demo after {DEMO} s",
        value=float(run["bits_per_byte"]),
        unit="bits/byte",
        at_most=None if quick else XZ * xz,
        ratio=float(run["bits_per_byte"]) / xz,
    )


def main() -> int:
    chosen = options(__doc__)
    with home():
        figures = [demo(chosen.quick)]
        if chosen.text is not None:
            figures += shakespeare(chosen.text.resolve(), chosen.quick)
        else:
            print("without --text, tiny Shakespeare is left out", file=sys.stderr)
    return report(figures, chosen)


if __name__ == "__main__":
    sys.exit(main())
