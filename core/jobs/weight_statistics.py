"""Norms and histograms of the weights in checkpoints, tensor by tensor: pure numpy, so that a child starts at once.

`python -P -m core.jobs.weight_statistics DIRECTORY …`; see `core.processes.child_job`.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from core.errors import LlmtuiError
from core.processes.child_job import run_and_report

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BINS: Final = 60
"""Of a histogram."""
DEVIATIONS: Final = 4.0
"""Standard deviations to both sides of the mean that a histogram covers; of a normal distribution one value in 16,000
is outside."""
_CHUNK: Final = 2**20
"""Elements read at a time."""


class WeightStatistics(Struct, frozen=True, kw_only=True, tag=True):
    """One tensor of one checkpoint. Figures are those of the finite values, computed in float64."""

    checkpoint: str
    """Name of its directory."""
    name: str
    """Of the tensor, such as `h.0.attn.c_attn.weight`."""
    size: tuple[int, ...]
    norm: float
    """Euclidean (Frobenius) norm."""
    mean: float
    deviation: float
    """Standard deviation, divided by n."""
    lowest: float
    highest: float
    histogram: tuple[int, ...]
    """Values in each of BINS bins of equal width from `first` to `last`; empty if all values are equal."""
    first: float
    last: float
    not_finite: int
    """Values that are infinite or NaN."""

    @property
    def outside(self) -> int:
        """Finite values outside the histogram."""
        return math.prod(self.size) - self.not_finite - sum(self.histogram) if self.histogram else 0


class CheckpointRead(Struct, frozen=True, kw_only=True, tag=True):
    """All tensors of a checkpoint have been read."""

    checkpoint: str


def weight_statistics(directories: list[Path]) -> Iterator[WeightStatistics | CheckpointRead]:
    """Statistics of every tensor in `model.safetensors` of each directory, in order.

    A checkpoint that was deleted meanwhile is left out. Raises LlmtuiError for one that cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    for directory in directories:
        path = directory / "model.safetensors"
        try:
            with safe_open(path, framework="numpy") as file:
                for name in file.keys():  # noqa: SIM118 -- not a mapping
                    yield _statistics(directory.name, name, file.get_slice(name))
        except FileNotFoundError:
            continue
        except (OSError, SafetensorError) as error:
            raise LlmtuiError(f"model.safetensors cannot be read ({error})", where=str(directory)) from None
        yield CheckpointRead(checkpoint=directory.name)


def _statistics(checkpoint: str, name: str, values: Any) -> WeightStatistics:
    """values: a slice of a safetensors file."""
    import numpy as np

    size = tuple(values.get_shape())
    rows = max(1, _CHUNK // math.prod(size[1:]))

    def chunks() -> Iterator[NDArray[np.float64]]:
        for start in range(0, size[0], rows):
            chunk = np.asarray(values[start : min(start + rows, size[0])], np.float64).ravel()
            yield chunk[np.isfinite(chunk)]

    count, mean, squares, deviations, lowest, highest = 0, 0.0, 0.0, 0.0, math.inf, -math.inf
    for chunk in chunks():
        if not len(chunk):
            continue
        # means and squared deviations of two parts combined: Chan, Golub, LeVeque 1979
        own = float(chunk.mean())
        total, difference = count + len(chunk), own - mean
        deviations += float(((chunk - own) ** 2).sum()) + difference**2 * count * len(chunk) / total
        mean += difference * len(chunk) / total
        squares, count = squares + float(chunk @ chunk), total
        lowest, highest = min(lowest, float(chunk.min())), max(highest, float(chunk.max()))
    deviation = math.sqrt(deviations / count) if count else 0.0
    if not count:
        lowest = highest = 0.0
    first = max(lowest, mean - DEVIATIONS * deviation)
    last = min(highest, mean + DEVIATIONS * deviation)
    histogram = np.zeros(BINS if last > first else 0, np.int64)
    for chunk in chunks() if len(histogram) else ():
        histogram += np.histogram(chunk, BINS, (first, last))[0]
    return WeightStatistics(
        checkpoint=checkpoint,
        name=name,
        size=size,
        norm=math.sqrt(squares),
        mean=mean,
        deviation=deviation,
        lowest=lowest,
        highest=highest,
        histogram=tuple(histogram.tolist()),
        first=first,
        last=last,
        not_finite=math.prod(size) - count,
    )


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(run_and_report(lambda: weight_statistics([Path(name) for name in sys.argv[1:]])))
