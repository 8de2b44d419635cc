"""Activation memory of a forward and backward pass against its estimate: `python -m benchmarks.activations [--fit]`.

Torch's own count of its allocations, on the CPU and of the smallest models that show every part, so it is the same
on every machine. With `--fit` it prints the coefficients of `core.model.memory` that come closest.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch.profiler import ProfilerActivity, profile

from core.model.gpt import GPT
from core.model.memory import COEFFICIENTS, activations, tensor_bytes
from core.recipe.schema import Model, Recipe, Train

SHAPES = 60
ROUNDS = 20


def allocated(work: Callable[[], object]) -> int:
    """Peak bytes allocated on the CPU by `work`, as counted by torch."""
    with profile(profile_memory=True, activities=[ProfilerActivity.CPU]) as profiler:
        work()
    now = most = 0
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


def needed(recipe: Recipe, vocabulary: int, *, sequences: int, dtype: torch.dtype) -> int:
    """Bytes of a forward and backward pass beside weights and gradients, which are there already."""
    torch.manual_seed(1)
    model = GPT(recipe.model, vocabulary, dtype=dtype)
    ids = torch.randint(vocabulary, (sequences, recipe.model.block_size))

    def work() -> None:
        model.loss(ids, ids).objective.backward()  # type: ignore[no-untyped-call]

    work()
    return allocated(work)


Case = tuple[Recipe, int, int, torch.dtype]
"""Recipe, vocabulary, sequences, type."""


def cases(number: int, seed: int) -> Iterator[Case]:
    """Models of every kind, between a few thousand and a million parameters."""
    pick = random.Random(seed)
    for _ in range(number):
        heads = pick.choice((2, 4, 8))
        model = Model(
            objective=pick.choice(("causal", "causal", "masked")),
            n_layer=pick.randint(1, 6),
            n_head=heads,
            n_kv_head=pick.choice((None, None, heads // 2)),
            n_embd=heads * pick.choice((8, 16, 32)),
            block_size=pick.choice((32, 64, 128, 256, 512)),
            positions=pick.choice(("learned", "rotary")),
            norm=pick.choice(("layer", "rms")),
            activation=pick.choice(("gelu", "swiglu", "relu2")),
            qk_norm=pick.choice((False, True)),
            bias=pick.choice((False, True)),
            tie_embeddings=pick.choice((False, True)),
            dropout=pick.choice((0.0, 0.0, 0.1)),
        )
        sequences = pick.randint(1, 12)
        recipe = Recipe(model=model, train=Train(batch_size=sequences))
        yield recipe, pick.choice((65, 512, 4096)), sequences, pick.choice((torch.float32, torch.bfloat16))


def compared(case: Case) -> float:
    """What is predicted, in shares of what is needed."""
    recipe, vocabulary, sequences, dtype = case
    predicted = activations(recipe, vocabulary, sequences=sequences, itemsize=dtype.itemsize)
    return predicted / needed(recipe, vocabulary, sequences=sequences, dtype=dtype)


def fitted(measured_cases: list[Case]) -> dict[str, float]:
    """Coefficients, none below zero, with the least sum of squared relative errors.

    Whether the loss or the way back takes more decides which of the two counts, so it is fitted in rounds.
    """
    rows = []
    for recipe, vocabulary, sequences, dtype in measured_cases:
        whole = needed(recipe, vocabulary, sequences=sequences, dtype=dtype)
        there = tensor_bytes(recipe, vocabulary, sequences=sequences, itemsize=dtype.itemsize)
        rows.append([{name: size / whole for name, size in part.items()} for part in there])
    best = dict(COEFFICIENTS)
    for _ in range(ROUNDS):
        matrix = []
        for kept, loss, backward in rows:
            counts = max((loss, backward), key=lambda part: sum(best[name] * size for name, size in part.items()))
            matrix.append([(kept | counts).get(name, 0.0) for name in best])
        best = dict(zip(best, _not_negative(np.array(matrix)), strict=True))
    return {name: round(value, 2) for name, value in best.items()}


def _not_negative(matrix: npt.NDArray[np.float64]) -> list[float]:
    """What `matrix` has to be multiplied by to come closest to ones; what would be negative is left out."""
    used = list(range(matrix.shape[1]))
    while True:
        solution = np.linalg.lstsq(matrix[:, used], np.ones(len(matrix)), rcond=None)[0]
        if (solution >= 0).all():
            return [float(solution[used.index(n)]) if n in used else 0.0 for n in range(matrix.shape[1])]
        used.pop(int(solution.argmin()))


def main() -> None:
    if "--fit" in sys.argv[1:]:
        print(json.dumps(fitted(list(cases(SHAPES, 1))), indent=4))
        return
    ratios = [compared(case) for case in cases(SHAPES // 2, 2)]
    print(f"predicted by needed: {min(ratios):.2f} to {max(ratios):.2f}, median {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
