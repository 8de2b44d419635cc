"""The settings of the sampler as text: shown, stepped through, typed, compared with the recipe's."""

from __future__ import annotations

import pytest

from core.recipe.sampling import Sampling
from llmtui.view.sampler_settings import (
    SamplerSettings,
    SettingValueError,
    changed,
    differences,
    parsed,
    reset,
    rows,
    stepped,
    summary,
    text_of,
    value,
    with_differences,
)

RECIPE = SamplerSettings()
EVERYTHING = SamplerSettings(
    sampling=Sampling(
        tokens=7,
        logit_bias={5: -100, 13: 2.5},
        temperature=1.25,
        top_k=0,
        seed=2**62,
        stop=("\n", "it's"),
        stop_tokens=(0, 13),
    ),
    order="entropy",
    denoising_steps=3,
)


def test_every_field_has_a_row_and_masked_models_have_their_own() -> None:
    names = [row.name for row in rows(masked=False)]
    assert sorted(names) == sorted(Sampling.__struct_fields__)
    assert [row.name for row in rows(masked=True)] == [*names, "order", "denoising_steps"]


@pytest.mark.parametrize("row", rows(masked=True), ids=lambda row: row.name)
def test_what_is_shown_can_be_typed(row: object) -> None:
    name = row.name  # type: ignore[attr-defined]
    for settings in (RECIPE, EVERYTHING):
        assert value(parsed(RECIPE, name, text_of(settings, name)), name) == value(settings, name)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("temperature", "1", 1.0),
        ("top_k", "all", 0),
        ("seed", "1,000", 1000),
        ("stop", r"\n\n", ("\n\n",)),
        ("stop", r"""'\n' "END" """, ("\n", "END")),
        ("stop", "User: 'x'", ("User: 'x'",)),
        ("stop", "none", ()),
        ("stop_tokens", "1, 2 3", (1, 2, 3)),
        ("logit_bias", "318=-100, 5=1", {318: -100.0, 5: 1.0}),
        ("logit_bias", "{ 318 = -100 }", {318: -100.0}),
        ("order", "conf", "confidence"),
        ("denoising_steps", "12", 12),
    ],
)
def test_values_are_typed_as_text(name: str, text: str, expected: object) -> None:
    assert value(parsed(RECIPE, name, text), name) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("temperature", "warm"),
        ("temperature", "-1"),
        ("temperature", "nan"),
        ("top_p", "1.5"),
        ("seed", "-1"),
        ("seed", "9" * 5000),
        ("tokens", "0"),
        ("tokens", "1.5"),
        ("stop", "'a' b"),
        ("stop_tokens", "x"),
        ("logit_bias", "318"),
        ("logit_bias", "318=5000"),
        ("order", "upwards"),
        ("denoising_steps", "0"),
    ],
)
def test_a_wrong_value_is_an_error_that_says_what_to_type(name: str, text: str) -> None:
    with pytest.raises(SettingValueError) as caught:
        parsed(RECIPE, name, text)
    assert caught.value.what and caught.value.todo.startswith("type ")


def test_stepping_stops_at_the_bounds() -> None:
    settings = stepped(stepped(RECIPE, "temperature", -1), "top_k", 1)
    assert (settings.sampling.temperature, settings.sampling.top_k) == (0.7, 100)
    for _ in range(30):
        settings = stepped(settings, "temperature", -1)
    assert settings.sampling.temperature == 0
    assert stepped(RECIPE, "stop", 1) == RECIPE  # is typed
    assert stepped(RECIPE, "order", -1).order == "entropy"


def test_what_differs_from_the_recipe_is_marked_stored_and_reset() -> None:
    assert changed(RECIPE, RECIPE) == []
    different = changed(EVERYTHING, RECIPE)
    assert "temperature" in different and "top_p" not in different
    stored = differences(EVERYTHING, RECIPE)
    assert with_differences(RECIPE, stored) == EVERYTHING
    assert with_differences(RECIPE, {**stored, "temperature": "hot", "gone": 1}).sampling.temperature == 0.8
    settings = EVERYTHING
    for name in different:
        settings = reset(settings, name, RECIPE)
    assert settings == RECIPE
    line = "".join(text for text, _ in summary(EVERYTHING, RECIPE, 200))
    assert line.startswith("T 1.25*   k all*   p 1.00   seed 4611686018427387904*   tokens 7*   ")
    assert "stop '\\n' \"it's\"*" in line
