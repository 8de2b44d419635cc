"""What a step of training costs as model and batch grow, and which part of it: `python -m benchmarks.growth`.

The default architecture and optimiser, with four dimensions varied one at a time: layers, width, length, sequences.
Each row of the table has the speed and the share of each part, forward and backward together; `back` is the share of
the backward pass. Each row is measured in its own process, interleaved, median of three rounds.

The figures hold the time of forward and backward against the arithmetic that `core.model.count` expects, which knows
nothing of the optimiser.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
from msgspec import Struct, structs
from torch import Tensor, nn

from benchmarks.harness import Figure, Measurement, interleaved, limits, options, report
from core.hardware import cores
from core.model.count import flops_per_token
from core.model.device import keep_freed_memory
from core.model.gpt import GPT, Block
from core.recipe.schema import Model, Train
from core.runs.launch import child_environment, python_command
from core.storage.workspace import Workspace
from core.train.data_parallel import DataParallel
from core.train.optimizer import optimizers
from core.train.step import optimizer_step, reduce_gradients

SECONDS = 2.0
"""Of steps in each round of each row, half of them timed by part."""
HEAD = 64
"""Numbers of one attention head, whatever the width."""


class Shape(Struct, frozen=True):
    """One row of the table; the defaults are the base configuration."""

    layers: int = 4
    width: int = 256
    length: int = 256
    sequences: int = 8
    vocabulary: int = 4096

    @property
    def model(self) -> Model:
        return Model(n_layer=self.layers, n_embd=self.width, n_head=max(1, self.width // HEAD), block_size=self.length)

    @property
    def work(self) -> float:
        """Floating-point operations of a step, forward and backward."""
        return float(flops_per_token(self.model, self.vocabulary).training * self.length * self.sequences)


DIMENSIONS = {
    "layers": (1, 2, 4, 8),
    "width": (128, 256, 512),
    "length": (64, 256, 1024),
    "sequences": (2, 8, 32),
}

ATTENTION, FEED_FORWARD, REST, OUTPUT, OPTIMISER = (
    "attention",
    "feed-forward",
    "norms, embedding",
    "head, loss",
    "optimiser",
)
PARTS = (ATTENTION, FEED_FORWARD, REST, OUTPUT, OPTIMISER)


AT_MOST = 1.15
"""Times the growth of the work that the time of forward and backward grows: never more than it, but for noise."""
AT_LEAST = {"layers": 0.8, "width": 0.5, "length": 0.65, "sequences": 0.65}
"""The same from below: small products are slower, and attention skips the masked half of the scores."""
NONLINEARITY = 10.0
"""Percent by which the time of a step may differ from a linear function of the number of layers."""
NO_SLOWER = 0.9
MAX_TIMING_OVERHEAD = 1.05


class Clock:
    """Seconds of each part: one part is running at any time, so that they add up to the whole."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self.back = 0.0
        """Of them backward."""
        self._part, self._back, self._since = REST, False, time.perf_counter()

    def start(self, part: str, *, back: bool = False) -> None:
        """From now on `part` is running."""
        now = time.perf_counter()
        self.seconds[self._part] += now - self._since
        self.back += self._back * (now - self._since)
        self._part, self._back, self._since = part, back, now


@contextlib.contextmanager
def timed_by_part(model: GPT, clock: Clock) -> Iterator[None]:
    """Time the parts of `model` by `clock`, forward and backward, on the CPU, where operations are synchronous.

    The backward pass of a layer starts when the gradient of its output is there.
    """

    def enters(part: str) -> Callable[..., None]:
        return lambda module, inputs: clock.start(part)

    def leaves(part: str, then: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            output.register_hook(lambda gradient: clock.start(part, back=True))  # type: ignore[no-untyped-call]
            clock.start(then)

        return hook

    handles = [model.ln_f.register_forward_hook(leaves(REST, then=OUTPUT))]
    for block in model.h:
        assert isinstance(block, Block)
        for norm in (block.ln_1, block.ln_2):
            handles.append(norm.register_forward_hook(leaves(REST, then=REST)))
        for layer, part in ((block.attn, ATTENTION), (block.mlp, FEED_FORWARD)):
            handles.append(layer.register_forward_pre_hook(enters(part)))
            handles.append(layer.register_forward_hook(leaves(part, then=REST)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class Steps:
    """Steps of the default optimisers on one ready batch."""

    def __init__(self, shape: Shape, dtype: torch.dtype) -> None:
        self.model = GPT(shape.model, shape.vocabulary, dtype=dtype)
        self._parallel = DataParallel(self.model)
        self._optimizers = optimizers(self.model, Train())
        self._ids = torch.randint(shape.vocabulary, (shape.sequences, shape.length))

    def plain(self, clock: Clock | None = None) -> float:
        """Take a step; its seconds."""
        clock = clock or Clock()
        began = time.perf_counter()
        clock.start(REST)
        loss = self.model.loss(self._ids, self._ids)
        clock.start(OUTPUT, back=True)
        loss.objective.backward()  # type: ignore[no-untyped-call]
        clock.start(OPTIMISER)
        optimizer_step(
            self._parallel,
            self._optimizers,
            reduce_gradients(self._parallel, loss.nats, self._ids.numel()),
            Train().grad_clip,
        )
        clock.start(REST)
        return time.perf_counter() - began

    def timed(self, clock: Clock) -> float:
        """The same, timed by part."""
        with timed_by_part(self.model, clock):
            return self.plain(clock)


def one(shape: Shape, precision: str, seconds: float) -> dict[str, float]:
    """Seconds of a plain step and of one timed by part, and the share of each part in the latter."""
    torch.set_num_threads(cores())
    keep_freed_memory()
    steps = Steps(shape, getattr(torch, precision))
    for _ in range(2):  # for the memory and the libraries to settle
        steps.timed(Clock())
    plain: list[float] = []
    timed: list[float] = []
    taken = dict.fromkeys((*PARTS, "back"), 0.0)
    end = time.perf_counter() + seconds
    while len(plain) < 3 or time.perf_counter() < end:
        plain.append(steps.plain())
        clock = Clock()
        timed.append(steps.timed(clock))
        for part, spent in (clock.seconds | {"back": clock.back}).items():
            taken[part] += spent
    whole = sum(taken[part] for part in PARTS)
    return {
        "seconds": statistics.median(plain),
        "timed": statistics.median(timed),
        **{part: taken[part] / whole for part in (*PARTS, "back")},
    }


def measured(shape: Shape, precision: str, seconds: float) -> Measurement:
    """One round in a process of its own, with the environment of a worker."""
    command = python_command("benchmarks.growth", json.dumps(structs.astuple(shape)), precision, str(seconds))
    done = subprocess.run(command, env=child_environment(Workspace()), capture_output=True, check=True)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def row(shape: Shape, measurement: Measurement, peak: float) -> Measurement:
    """The row of one shape. peak: FLOP/s of products."""
    seconds = measurement["seconds"]
    return {
        "tokens/s": shape.length * shape.sequences / seconds,
        "ms/step": 1000 * seconds,
        "% of products": 100 * shape.work / seconds / peak,
        **{f"{part} %": 100 * measurement[part] for part in (*PARTS, "back")},
    }


def passes(measurement: Measurement) -> float:
    """Seconds forward and backward."""
    return measurement["seconds"] * (1 - measurement[OPTIMISER])


def growth(dimension: str, measurements: Mapping[Shape, Measurement], values: Sequence[int]) -> Figure:
    """How the time of forward and backward grows from the lowest to the highest value of `dimension`."""
    low, high = (Shape(**{dimension: value}) for value in (values[0], values[-1]))
    measured, expected = passes(measurements[high]) / passes(measurements[low]), high.work / low.work
    return Figure(
        name=f"{dimension} {values[0]} to {values[-1]}: time, by {expected:.3g} times the work",
        value=measured,
        unit="times",
        at_least=AT_LEAST[dimension] * expected,
        at_most=AT_MOST * expected,
        ratio=measured / expected,
    )


def nonlinearity(measurements: Mapping[Shape, Measurement], layers: Sequence[int]) -> float:
    """The largest deviation of the time of a step from a linear function of the number of layers, in percent."""
    times = {number: measurements[Shape(layers=number)]["seconds"] for number in layers}
    first, last = layers[0], layers[-1]
    each = (times[last] - times[first]) / (last - first)
    return 100 * max(abs(time / (times[first] + each * (number - first)) - 1) for number, time in times.items())


def main() -> int:
    chosen = options(__doc__)
    machine = limits()
    peaks = {name: 1e9 * machine[f"{name} matmul GFLOP/s"] for name in ("float32", "bfloat16")}
    precision = "bfloat16" if peaks["bfloat16"] > 1.2 * peaks["float32"] else "float32"
    seconds, rounds = (0.3, 1) if chosen.quick else (SECONDS, 3)
    rows = {
        f"{dimension} {value}": Shape(**{dimension: value})
        for dimension, values in DIMENSIONS.items()
        for value in values
    }
    names = {shape: name for name, shape in rows.items()}  # the base is in each dimension, and measured once
    medians = interleaved({name: partial(measured, shape, precision, seconds) for shape, name in names.items()}, rounds)
    measurements = {shape: medians[name] for shape, name in names.items()}
    speeds = [value / measurements[Shape(sequences=value)]["seconds"] for value in DIMENSIONS["sequences"]]
    figures = [
        *(growth(dimension, measurements, values) for dimension, values in DIMENSIONS.items()),
        Figure(
            name="layers: off a straight line",
            value=nonlinearity(measurements, DIMENSIONS["layers"]),
            unit="%",
            at_most=NONLINEARITY,
        ),
        Figure(
            name="sequences: tokens/s, by those with fewer, at least",
            value=min(more / fewer for fewer, more in itertools.pairwise(speeds)),
            unit="times",
            at_least=NO_SLOWER,
        ),
        Figure(
            name="steps timed by part, relative to plain ones",
            value=statistics.median(each["timed"] / each["seconds"] for each in measurements.values()),
            unit="times",
            at_most=MAX_TIMING_OVERHEAD,
        ),
    ]
    table = {name: row(shape, measurements[shape], peaks[precision]) for name, shape in rows.items()}
    return report(figures, chosen, table)


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1].startswith("["):
        print(json.dumps(one(Shape(*json.loads(sys.argv[1])), sys.argv[2], float(sys.argv[3]))))
    else:
        sys.exit(main())
