"""The sampling settings as number inputs: the fields of `Sampling` that have a slider."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from msgspec import structs

from core.recipe.sampling import Sampling, Slider, sampling_fields
from llmtui.tui.widgets.number_input import NumberInput

SLIDERS = {field.name: (field, field.slider) for field in sampling_fields() if field.slider is not None}


def sampling_inputs() -> list[NumberInput]:
    """The inputs, in the order in which they are shown."""
    order = sorted(SLIDERS.values(), key=lambda each: each[0].name == "tokens")
    return [
        NumberInput(
            slider.label,
            field.default if slider.start is None else slider.start,
            partial(_step, slider),
            partial(_format, slider),
        )
        for field, slider in order
    ]


def slider_values(sampling: Sampling) -> dict[str, float]:
    """The values of `sampling` by label, without those that start at a value of their own."""
    return {slider.label: getattr(sampling, name) for name, (_, slider) in SLIDERS.items() if slider.start is None}


def with_slider_values(sampling: Sampling, values: Mapping[str, float]) -> Sampling:
    """`sampling` with the values of the sliders, by label."""
    changes = {name: field.type(values[slider.label]) for name, (field, slider) in SLIDERS.items()}
    return structs.replace(sampling, **changes)


def _step(slider: Slider, value: float, direction: int) -> float:
    if slider.values:
        beyond = [each for each in slider.values if (each > value if direction > 0 else each < value)]
        return (beyond[0] if direction > 0 else beyond[-1]) if beyond else value
    return round(min(slider.highest, max(slider.lowest, value + slider.step * direction)), 2)


def _format(slider: Slider, value: float) -> str:
    return slider.zero if slider.zero and not value else f"{value:.{slider.decimals}f}"
