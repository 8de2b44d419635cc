"""The power law L∞ + A·n^−α of losses, fitted by least squares, with a bootstrap of its uncertainty: pure numpy.

n is whatever the loss falls with: steps of one training, or the compute of models of several sizes (Hestness et al.,
2017, arXiv:1712.00409; Kaplan et al., 2020, arXiv:2001.08361; Hoffmann et al., 2022, arXiv:2203.15556).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

MIN_POINTS = 5
"""Points that a fit of three parameters needs before its residuals say anything."""

REPLICATES = 200
"""Of the bootstrap: the bounds of a 90 % interval are then the 10th value from either end."""

EXPONENTS = (0.02, 1.0, 200)
"""The smallest and the largest α, and how many are tried at equal ratios: neighbours differ by 2 %. Above 1 a few noisy
points look as if the loss had stopped falling."""


class PowerLaw(NamedTuple):
    """L(n) = limit + amplitude · n^−exponent."""

    limit: float
    amplitude: float
    exponent: float

    def at(self, n: float) -> float:
        """The loss at n."""
        return self.limit + self.amplitude * math.pow(n, -self.exponent)


class Interval(Struct, frozen=True, kw_only=True):
    """A predicted value with the bounds of its 90 % interval."""

    value: float
    low: float
    high: float


class PowerLawFit(Struct, frozen=True, kw_only=True):
    """The law of some points, and those of resampled ones."""

    law: PowerLaw
    replicates: tuple[PowerLaw, ...]
    """Fits to the law's own values with resampled residuals."""
    residuals: tuple[float, ...]
    """Of the points, widened by the three parameters that the law has taken from them."""

    def at(self, n: float, *, noise: bool = True) -> Interval:
        """The loss at n. noise: the interval is that of a measurement rather than of the law's mean."""
        import numpy as np

        values = np.array([law.at(n) for law in self.replicates])
        if noise:
            values += np.resize(np.array(self.residuals), len(values))
        low, high = np.quantile(values, (0.05, 0.95))
        value = self.law.at(n)
        return Interval(value=value, low=min(value, float(low)), high=max(value, float(high)))

    def exponent(self) -> Interval:
        """α."""
        import numpy as np

        low, high = np.quantile([law.exponent for law in self.replicates], (0.05, 0.95))
        value = self.law.exponent
        return Interval(value=value, low=min(value, float(low)), high=max(value, float(high)))


def power_law(n: list[float], losses: list[float]) -> PowerLaw | None:
    """The law of `losses` at `n`, which rises, without its uncertainty. None with fewer than `MIN_POINTS` points."""
    if len(n) < MIN_POINTS:
        return None
    import numpy as np

    scaled, unit = _scaled(np.array(n, float))
    limit, amplitude, exponent = (float(column[0]) for column in _least_squares(scaled, np.array(losses, float)[None]))
    return PowerLaw(limit, amplitude * unit**exponent, exponent)


def _scaled(n: Array) -> tuple[Array, float]:
    """n in a unit in which n^−α stays near 1 for every α, and the unit."""
    import numpy as np

    unit = float(np.exp(np.mean(np.log(n))))
    return n / unit, unit


def fit_power_law(n: list[float], losses: list[float], *, seed: int = 0) -> PowerLawFit | None:
    """Fit the law to `losses` at `n`, which rises. None with fewer than `MIN_POINTS` points.

    L∞ and A are not negative. Residuals are resampled in blocks, since those of neighbours resemble each other.
    """
    if len(n) < MIN_POINTS:
        return None
    import numpy as np

    observed = np.array(losses, float)
    scaled, unit = _scaled(np.array(n, float))
    limit, amplitude, exponent = (column[0] for column in _least_squares(scaled, observed[None]))
    fitted = limit + amplitude * scaled**-exponent
    residuals = (observed - fitted) * math.sqrt(len(n) / (len(n) - 3))
    rng = np.random.default_rng(seed)
    length = max(1, round(len(n) ** (1 / 3)))
    starts = rng.integers(len(n), size=(REPLICATES, -(-len(n) // length), 1))
    indices = ((starts + np.arange(length)) % len(n)).reshape(REPLICATES, -1)[:, : len(n)]
    columns = _least_squares(scaled, fitted + residuals[indices])
    laws = [PowerLaw(float(c), float(a * unit**e), float(e)) for c, a, e in zip(*columns, strict=True)]
    return PowerLawFit(
        law=PowerLaw(float(limit), float(amplitude * unit**exponent), float(exponent)),
        replicates=tuple(laws),
        residuals=tuple(map(float, residuals)),
    )


def _least_squares(n: Array, losses: Array) -> tuple[Array, Array, Array]:
    """L∞, A and α of each row of `losses` (R, N): for each α the best L∞ and A in closed form, then the best α."""
    import numpy as np

    low, high, count = EXPONENTS
    exponents = np.geomspace(low, high, count)
    basis = n ** -exponents[:, None]  # (E, N)
    centred = basis - basis.mean(1, keepdims=True)
    mean = losses.mean(1)
    amplitude = np.maximum(0.0, losses @ (centred / (centred**2).sum(1, keepdims=True)).T)  # (R, E)
    limit = mean[:, None] - amplitude * basis.mean(1)
    through_zero = losses @ (basis / (basis**2).sum(1, keepdims=True)).T
    amplitude = np.where(limit < 0, through_zero, amplitude)
    limit = np.maximum(limit, 0.0)
    # the sum of squares without the (R, E, N) array of residuals
    squares = (
        (losses**2).sum(1)[:, None]
        + len(n) * limit**2
        + amplitude**2 * (basis**2).sum(1)
        + 2 * limit * amplitude * basis.sum(1)
        - 2 * limit * losses.sum(1)[:, None]
        - 2 * amplitude * (losses @ basis.T)
    )
    best = squares.argmin(1)
    rows = np.arange(len(losses))
    return limit[rows, best], amplitude[rows, best], exponents[best]
