"""The sampling settings as numbers that can be stepped."""

from __future__ import annotations

from llmtui.tui.widgets.number_input import Dial


def sampling_dials() -> list[Dial]:
    """The sampling settings that can be turned, within what the protocol takes."""
    return [
        Dial("T", 0.8, lambda v, d: round(min(5.0, max(0.0, v + 0.1 * d)), 2), "{:.1f}".format),
        Dial(
            "k",
            50,
            lambda v, d: _next((0, 1, 5, 10, 20, 50, 100, 200, 500), v, d),
            lambda v: f"{v:.0f}" if v else "all",
        ),
        Dial("p", 1.0, lambda v, d: round(min(1.0, max(0.05, v + 0.05 * d)), 2), "{:.2f}".format),
        Dial("seed", 1, lambda v, d: max(0, v + d), "{:.0f}".format),
        Dial("tokens", 200, lambda v, d: _next((20, 50, 100, 200, 400, 800, 1600), v, d), "{:.0f}".format),
    ]


def _next(rungs: tuple[int, ...], value: float, direction: int) -> float:
    """The rung above (or below) `value`."""
    beyond = [rung for rung in rungs if (rung > value if direction > 0 else rung < value)]
    if not beyond:
        return value
    return beyond[0] if direction > 0 else beyond[-1]
