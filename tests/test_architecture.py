"""The picture of a model, its figures and its weights as text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.jobs.weight_statistics import WeightStatistics
from core.model.count import TRAINING_FACTOR, embedding_rows, flops_per_token, mlp_widths, parameters
from core.model.memory_fit import precision_plans
from core.recipe.choices import values
from core.recipe.file import load, presets
from core.recipe.schema import Model, Recipe
from core.runs.summary import Summary
from core.vocab.sizes import expected_size
from llmtui.view.architecture import ACTIVATIONS, Step, hidden_shape, steps
from llmtui.view.architecture_figures import (
    ModelFigures,
    change,
    column_cells,
    columns,
    columns_width,
    memory_lines,
    speed_lines,
)
from llmtui.view.architecture_picture import MAX_WIDTH, MIN_WIDTH, draw, window
from llmtui.view.lines import Line, width
from llmtui.view.weights_text import CheckpointWeights, bars, histogram_lines, weight_lines
from tests.core.test_count import shapes
from tests.ui.fake_runs import metric

VOCABULARY = 300


def text(lines: list[Line]) -> str:
    return "\n".join("".join(part for part, _ in line) for line in lines)


def picture(model: Model, cells: int = 56, height: int = 60, vocabulary: int = VOCABULARY, selected: str = "") -> str:
    rows = draw(steps(model, vocabulary, 4), hidden_shape(model, 4), cells, height, selected)
    return text([row.line for row in rows])


def step(model: Model, name: str) -> Step:
    return next(step for step in steps(model, VOCABULARY, 4) if step.name == name)


@pytest.mark.parametrize("preset", presets())
@pytest.mark.parametrize(("cells", "height"), [(37, 19), (44, 30), (56, 60)])
def test_the_picture_shows_what_the_recipe_says(preset: str, cells: int, height: int) -> None:
    recipe = load(preset=preset)
    model, vocabulary = recipe.model, expected_size(recipe.tokenize).entries
    shows = picture(model, cells, height, vocabulary)
    assert f"{model.n_layer} × block" in shows
    assert f"{model.n_head} head" in shows and f"× {model.n_embd // model.n_head}" in shows
    assert f"{embedding_rows(model, vocabulary):,} → {model.n_embd:,}" in shows
    assert f"{model.n_embd:,} → {mlp_widths(model)[0]:,} → {model.n_embd:,}" in shows
    assert {"layer": "LayerNorm 1", "rms": "RMSNorm 1"}[model.norm] in shows
    assert {"gelu": "GELU", "relu2": "ReLU²", "swiglu": "SwiGLU"}[model.activation] in shows
    assert ("positional embedding" in shows) == (model.positions == "learned")
    assert ("RoPE" in shows) == (model.positions == "rotary")
    assert ("QK-norm" in shows) == model.qk_norm
    assert ("tied" in shows) == model.tie_embeddings
    assert f"({4}, {model.block_size:,}, {vocabulary:,})" in shows
    assert shows.index("logits") < shows.index("block") < shows.index("token ids")


@given(shapes(), st.integers(20, 90), st.integers(5, 70))
def test_no_row_is_wider_or_narrower_than_the_picture(shape: Model, cells: int, height: int) -> None:
    rows = draw(steps(shape, VOCABULARY, 4), hidden_shape(shape, 4), cells, height, "attn")
    expected = max(MIN_WIDTH, min(MAX_WIDTH, cells))
    assert {width(row.line) for row in rows} == {expected}
    assert "…" not in text([row.line for row in rows])


@given(shapes(), st.integers(1, 12), st.data())
def test_the_selected_step_is_in_every_window(shape: Model, height: int, data: st.DataObject) -> None:
    every = steps(shape, VOCABULARY, 4)
    selected = data.draw(st.sampled_from([step.name for step in every]))
    rows = window(draw(every, "", 40, height, selected), height, selected)
    assert len(rows) == height and any(row.step == selected for row in rows)
    marked = {row.step for row in rows if any(role == "cursor" for _, role in row.line)}
    assert marked == {selected} or height < 3


@pytest.mark.parametrize(
    ("fields", "name", "says", "not_in_text"),
    [
        ({"objective": "masked"}, "attn", "bidirectional attention", "mask"),
        ({"n_head": 4, "n_kv_head": 2}, "attn", "2 KV heads", "QKV"),
        ({"n_head": 4, "n_kv_head": 2}, "attn", "2 query heads share a head of keys and values", ""),
        ({"bias": True, "qkv_bias": False}, "attn", "bias, not of QKV", ""),
        ({"bias": False, "qkv_bias": True}, "attn", "QKV bias", "not of"),
        ({"activation": "swiglu"}, "mlp", "gated", "ReLU"),
        ({"norm": "layer", "bias": True}, "ln_1", "+ b", "mean(x²)"),
        ({"norm": "layer", "bias": False}, "ln_1", "var(x)", "+ b"),
        ({"objective": "masked"}, "ln_f", "shift by 1", ""),
        ({"objective": "masked"}, "logits", "Only masked positions have a loss", "next token"),
        ({"tie_embeddings": True}, "lm_head", "those of the token embedding", "untied"),
        ({"objective": "masked", "pad_vocabulary_multiple": 64}, "wte", "19 rows of padding", "tied"),
        ({"dropout": 0.1}, "mlp", "dropout 0.1", ""),
    ],
)
def test_each_variant_is_explained(fields: dict[str, Any], name: str, says: str, not_in_text: str) -> None:
    own = step(Model(**fields), name)
    everything = " ".join((own.title, *own.details, *own.formula, own.explanation))
    assert says in everything
    assert not not_in_text or not_in_text not in everything


def test_every_activation_of_the_schema_is_explained() -> None:
    names = values(Recipe(), "activation")
    assert set(names) == set(ACTIVATIONS)
    for name in names:
        own = step(Model(activation=name), "mlp")
        assert ACTIVATIONS[name].title in own.title and "{" not in own.explanation


@given(shapes())
def test_the_shapes_of_formulas_are_those_of_the_model(shape: Model) -> None:
    size, groups = shape.n_embd // shape.n_head, shape.n_kv_head or shape.n_head
    formula = " ".join(step(shape, "attn").formula)
    assert f"q: (4, {shape.n_head}, {shape.block_size}, {size})" in formula
    assert f"k, v: (4, {groups}, {shape.block_size}, {size})" in formula
    first, second = mlp_widths(shape)
    assert f"W1: ({first}, {shape.n_embd}), W2: ({shape.n_embd}, {second})" in step(shape, "mlp").formula


@given(shapes(), st.integers(1, 300))
def test_figures_are_those_of_the_count(shape: Model, vocabulary: int) -> None:
    figures = ModelFigures.of(shape, vocabulary)
    counted, cost = parameters(shape, vocabulary), flops_per_token(shape, vocabulary)
    assert figures.total == (counted.total, cost.training)
    assert figures.steps["mlp"] == (counted.feed_forward, TRAINING_FACTOR * cost.feed_forward)
    assert figures.steps["h"].flops == cost.training - TRAINING_FACTOR * cost.output


@pytest.mark.parametrize(
    ("new", "old", "says"),
    [(100, 100, ""), (112, 100, "+12 %"), (88, 100, "-12 %"), (1001, 1000, "+<1 %"), (999, 1000, "-<1 %"),
     (3100, 100, "×31"), (5, 0, "new"), (0, 5, "gone")],
)  # fmt: skip
def test_a_change_is_said_in_a_few_characters(new: int, old: int, says: str) -> None:
    assert change(new, old) == says


@pytest.mark.parametrize("changed", [True, False])
def test_columns_fit_and_those_of_changes_come_with_a_change(changed: bool) -> None:
    model = load(preset="gpt2").model
    wider = Model(n_layer=24, n_head=12, n_embd=768)
    now, before = ModelFigures.of(wider, VOCABULARY), ModelFigures.of(model, VOCABULARY)
    for cells in range(60):
        indices = columns(cells, changed)
        line = column_cells("attn", now, before, indices)
        assert width(line) == columns_width(indices) <= cells
    assert ("+100 %" in text([column_cells("attn", now, before, columns(60, changed))])) == changed


def test_memory_is_that_of_the_plan() -> None:
    recipe = load(preset="small")
    plans = precision_plans(recipe, 4096, 8 * 10**9, gpu=False)
    shows = text(memory_lines(recipe, plans, plans))
    assert "float32    bfloat16" in shows and "activations" in shows and "at once" in shows
    assert "%" not in shows
    brief = text(memory_lines(recipe, plans, plans, brief=True))
    assert "peak" in brief and "activations" not in brief and "at once" in brief
    none = precision_plans(recipe, 4096, 10**6, gpu=False)
    assert "does not fit here" in text(memory_lines(recipe, none, none))


def test_speed_is_the_measured_one_or_follows_from_the_flops() -> None:
    recipe = load(preset="demo")
    figures = ModelFigures.of(recipe.model, 4096)
    assert "a run measures it" in text(speed_lines(recipe, figures, None, figures))
    summary = Summary()
    for number in range(1, 50):
        summary.absorb(metric(number, 100))
    summary.tokens_per_second = 10_000.0
    measured = text(speed_lines(recipe, figures, summary, figures))
    assert "10.0k tok/s  measured" in measured and "about 2m00s" in measured
    half = figures._replace(total=figures.total._replace(flops=figures.total.flops // 2))
    assert "20.0k tok/s  estimated by FLOPs" in text(speed_lines(recipe, half, summary, figures))


def test_a_recipe_of_steps_has_tokens_and_flops_before_it_runs() -> None:
    recipe: Recipe = load(preset="demo", overrides=["train.steps=10"])
    figures = ModelFigures.of(recipe.model, 4096)
    tokens = 10 * recipe.train.batch_size * recipe.model.block_size
    assert f"{tokens / 1000:.1f}k tokens" in text(speed_lines(recipe, figures, None, figures))


# -- weights ----------------------------------------------------------------------------------------------------------


def weights(name: str, norm: float, **fields: Any) -> WeightStatistics:
    values: dict[str, Any] = {
        "checkpoint": "step-1", "name": name, "size": (4, 6), "norm": norm, "mean": 0.0, "deviation": 1.0,
        "lowest": -3.0, "highest": 3.0, "histogram": (1, 4, 10, 8, 1, 0), "first": -2.0, "last": 2.0, "not_finite": 0,
    }  # fmt: skip
    return WeightStatistics(**values | fields)


def checkpoint(step: int, *tensors: WeightStatistics) -> CheckpointWeights:
    return CheckpointWeights(step, {tensor.name: tensor for tensor in tensors})


NAMES = ("wte.weight", "h.0.attn.c_attn.weight", "h.0.mlp.c_fc.weight", "h.1.attn.c_attn.weight", "ln_f.weight")


def test_only_the_tensors_of_the_part_and_block_are_shown() -> None:
    read = [checkpoint(100, *(weights(name, 1.0) for name in NAMES))]
    assert "h.1.attn.c_attn.weight" in text(weight_lines("attn", 1, read, 100, 60))
    shows = text(weight_lines("h", 0, read, 100, 60))
    assert "h.0.attn.c_attn.weight" in shows and "h.0.mlp.c_fc.weight" in shows and "h.1" not in shows
    assert "wte" not in shows and "wte.weight" in text(weight_lines("wte", 0, read, 100, 60))
    assert "tied" in text(weight_lines("lm_head", 0, read, 100, 60))
    assert "no weights" in text(weight_lines("ids", 0, read, 100, 60))


def test_norms_are_shown_by_step_and_by_block() -> None:
    read = [checkpoint(s, weights(NAMES[1], s / 100), weights(NAMES[3], 9.0)) for s in (100, 200, 300)]
    shows = text(weight_lines("attn", 0, read, 300, 70))
    assert "norm by step  ▁▅█  100: 1, 300: 3" in shows
    assert "norm by block  ▁█  1: 3, 2: 9" in shows


def test_a_histogram_has_its_range_and_what_is_outside() -> None:
    lines = histogram_lines(weights("w", 1.0, size=(5, 5)), 60, 2)
    assert [len(text([line])) for line in lines[:2]] == [6, 6]
    assert text(lines[:1]) == "  █▅  " and text(lines[1:2]) == "▂▆██▂ "
    assert "1 beyond, to -3 and 3" in text(lines)
    assert text(histogram_lines(weights("w", 1.0, histogram=(), mean=1.0), 60, 2)) == "all values are 1"


@given(st.integers(1, 100), st.integers(1, 6))
def test_no_line_about_weights_is_wider_than_its_pane(cells: int, rows: int) -> None:
    hostile = weights("h.0.attn." + "w" * 80 + "\x1b]0;x", 1e-9, histogram=(5,) * 60, not_finite=3)
    read = [checkpoint(s, hostile) for s in range(90)]
    lines = weight_lines("attn", 0, read, 89, cells, rows=rows)
    assert max(map(width, lines)) <= cells and "\x1b" not in text(lines)


def test_equal_values_have_bars_of_one_height() -> None:
    assert bars([2.0, 2.0]) == "▄▄" and bars([1.0, 3.0, 2.0]) == "▁█▅"
