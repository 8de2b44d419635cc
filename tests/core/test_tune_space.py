"""Search spaces: what they contain, and what is refused before anything is trained."""

from __future__ import annotations

import math
import random
import tomllib
from typing import Any

import pytest

from core.recipe.file import load
from core.recipe.schema import Recipe
from core.tune.space import SpaceError, read_space, with_values
from core.tune.study_file import StudyFileError, parse_study


def recipe(*overrides: str) -> Recipe:
    return load(base={"name": "study", "source": {"corpus": "stdlib"}}, overrides=overrides)


def space_of(text: str, *overrides: str) -> Any:
    return read_space(tomllib.loads(text), recipe(*overrides))


def test_ranges_and_lists_give_values_that_a_recipe_takes() -> None:
    space = space_of(
        """
        train.lr = { low = 1e-4, high = 1e-2, log = true }
        train.warmup = { low = 0.0, high = 0.2, step = 0.05 }
        "model.n_layer" = { low = 2, high = 5 }
        [model]
        positions = ["learned", "rotary"]
        """
    )
    for number in range(300):
        values = space.sample(random.Random(number), recipe())
        assert set(values) == {"train.lr", "train.warmup", "model.n_layer", "model.positions"}
        assert 1e-4 <= values["train.lr"] <= 1e-2
        assert values["train.warmup"] in (0.0, 0.05, 0.1, 0.15, 0.2)
        assert values["model.n_layer"] in (2, 3, 4, 5) and isinstance(values["model.n_layer"], int)
        changed = with_values(recipe(), values)
        assert changed.train.lr == values["train.lr"] and changed.model.positions == values["model.positions"]


def test_a_logarithmic_range_is_uniform_in_the_logarithm() -> None:
    space = space_of("train.lr = { low = 1e-4, high = 1e-2, log = true }")
    logs = [math.log10(space.sample(random.Random(number), recipe())["train.lr"]) for number in range(2000)]
    assert abs(sum(logs) / len(logs) + 3) < 0.05
    assert abs(sum(value < -3 for value in logs) / len(logs) - 0.5) < 0.05


def test_a_grid_has_every_combination_once() -> None:
    space = space_of(
        """
        train.optimizer = ["adamw", "muon"]
        train.lr = { low = 0.001, high = 0.1, log = true }
        train.muon_lr = { low = 0.01, high = 0.02, step = 0.01, when = { "train.optimizer" = "muon" } }
        """
    )
    grid = list(space.grid(recipe()))
    rates = [0.001, 0.003162, 0.01, 0.03162, 0.1]
    assert [values["train.lr"] for values in grid if values["train.optimizer"] == "adamw"] == rates
    assert sorted((v["train.lr"], v["train.muon_lr"]) for v in grid if v["train.optimizer"] == "muon") == [
        (rate, muon) for rate in rates for muon in (0.01, 0.02)
    ]
    assert all("train.muon_lr" not in values for values in grid if values["train.optimizer"] == "adamw")


def test_a_condition_may_be_about_a_field_that_does_not_vary() -> None:
    text = 'train.muon_lr = { low = 0.01, high = 0.02, when = { "train.optimizer" = "muon" } }'
    assert space_of(text, "train.optimizer=muon").sample(random.Random(1), recipe("train.optimizer=muon"))
    with pytest.raises(SpaceError, match="which it never is"):
        space_of(text, "train.optimizer=adamw")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        ("train.rate = [1]", "no field 'train.rate'"),
        ("model.lr = [0.1]", "no field 'model.lr'"),
        ("train.lr = { low = 0.1, high = 0.01 }", "low 0.1 is above high 0.01"),
        ("train.lr = { low = 0, high = 0.01, log = true }", "logarithm of low 0"),
        ("train.lr = { low = 0.1, high = 5 }", "train.lr = 5.0 is not a number above 0, at most 1"),
        ("train.lr = { low = 0.1, high = 0.2, log = true, step = 0.1 }", "not both"),
        ("train.lr = { low = 0.1, high = 0.2, step = 0 }", "step 0 is not above 0"),
        ("train.lr = { low = 0.1, high = 0.2, steps = 3 }", "there is no 'steps'; did you mean 'step'?"),
        ("train.lr = { min = 0.1, max = 0.2 }", "there is no 'min'; did you mean 'low'?"),
        ("train.lr = { low = 'a', high = 0.2 }", 'low = "a" is not a number'),
        ("train.learning_rate = [0.1]", "did you mean 'train.lr'?"),
        ("train.lr = [nan, inf]", "the value nan is not finite"),
        ("train.lr = { low = 0.1 }", "it has no high"),
        ("train.lr = 0.1", "neither a range nor a list"),
        ("train.lr = []", "has no values"),
        ("train.lr = [0.1, 0.1]", "the value 0.1 twice"),
        ("train.lr = { low = nan, high = 0.1 }", "have to be finite"),
        ("model.n_layer = { low = 1.5, high = 4 }", "takes whole numbers"),
        ("model.n_layer = [4, 'six']", "model.n_layer = 'six' is not a whole number"),
        ('train.schedule = ["cosine", "cosin"]', "is not one of"),
        ("train.minutes = [1, 2]", "budget of a trial"),
        ("name = ['a']", "it names the runs"),
        ('train.lr = { low = 0.1, high = 0.2, when = { "train.optimiser" = "muon" } }', "which is no field"),
        (
            'train.lr = { low = 0.1, high = 0.2, when = { "train.muon_lr" = 0.1 } }\n'
            'train.muon_lr = { low = 0.1, high = 0.2, when = { "train.lr" = 0.1 } }',
            "depend on each other: train.lr, train.muon_lr",
        ),
        (
            'train.optimizer = ["adamw"]\n'
            'train.muon_lr = { low = 0.1, high = 0.2, when = { "train.optimizer" = "muon" } }',
            "none of its values",
        ),
        ('train.lr = [0.1]\n"train.lr" = [0.2]', ""),
    ],
)
def test_impossible_spaces_are_refused_by_name(text: str, message: str) -> None:
    with pytest.raises((SpaceError, tomllib.TOMLDecodeError)) as caught:
        space_of(text)
    error = caught.value
    assert message in (f"{error.what}; {error.todo}" if isinstance(error, SpaceError) else str(error))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trials = 'many'", 'trials = "many" is not a whole number at least 1'),
        ("trials = -3", "trials = -3 is not a whole number at least 1"),
        ("trials = 3\nsampler = 'cmaes'", 'sampler = "cmaes" is not one of grid, random, tpe'),
        ("trials = 3\nscheduler.kind = 'hyperband'", 'scheduler: kind = "hyperband" is not one of asha, none'),
        ("trials = 3\nscheduler.et = 3", "scheduler: there is no 'et'"),
        ("trials = 3\nspace = 3", "space = 3 is not a table"),
        ("trails = 3", "a study has no setting 'trails'"),
    ],
)
def test_impossible_settings_are_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(StudyFileError) as caught:
        parse_study(text, recipe(), "space.toml")
    assert message in caught.value.what
