"""The summary of a model's weights."""

from __future__ import annotations

import math

import pytest

from core.model.count import parameters
from core.recipe.sampling import Precision
from core.sample.inspect.weights import inspect_model
from core.sample.inspect_protocol import (
    AttentionHead,
    LogitLens,
    ModelPart,
    ModelSummary,
    SampledToken,
)
from core.sample.precision import convert_weights
from tests.core.generating import generate_ids, settings
from tests.core.inspecting import (
    BYTES,
    TEXT,
    each_shape,
    inspect_results,
    model_of,
    of_type,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@each_shape
def test_the_summary_lists_each_weight_once_and_adds_up(name: str) -> None:
    model = model_of(name)
    shape, *parts = inspect_model(model)
    assert isinstance(shape, ModelSummary)
    assert shape.parameters == parameters(model.config, BYTES.size)
    weights = [weight for part in parts if isinstance(part, ModelPart) for weight in part.weights]
    assert sum(weight.parameters for weight in weights) == shape.parameters.total == model.parameter_count()
    own = dict(model.named_parameters(remove_duplicate=False))
    assert {weight.name for weight in weights} == set(own)
    for weight in weights:
        assert weight.size == tuple(own[weight.name].shape)
        assert weight.dtype == "float32"
        if weight.tied_to:
            assert (weight.name, weight.tied_to, weight.parameters) == ("lm_head.weight", "wte.weight", 0)
            continue
        squares = math.fsum(one * one for one in own[weight.name].flatten().tolist())
        assert weight.norm == pytest.approx(math.sqrt(squares), rel=1e-6)
        assert weight.rms == pytest.approx(math.sqrt(squares / own[weight.name].numel()), rel=1e-6)
    assert any(weight.tied_to for weight in weights) == model.config.tie_embeddings
    assert [(part.name, part.layer) for part in parts if isinstance(part, ModelPart)] == [
        ("embedding", 0),
        *(("block", layer) for layer in (1, 2, 3)),
        ("output", 4),
    ]


@pytest.mark.parametrize("numbers", ["bfloat16", "float16", "int8"])
def test_models_in_other_number_formats_can_be_inspected(numbers: Precision) -> None:
    model = model_of("modern")
    convert_weights(model, numbers, parameters=0)
    sampling = settings(tokens=8, logit_bias={BYTES.end_of_text: -1000.0})
    results = inspect_results(model, sampling=sampling, logit_lens=True, surprisal=True, attention=(AttentionHead(3),))
    assert [one.token.id for one in of_type(SampledToken, results)] == generate_ids(model, TEXT, sampling)
    last = [lens for lens in of_type(LogitLens, results) if lens.layer == 3]
    for lens, choice in zip(last, of_type(SampledToken, results), strict=True):
        assert lens.probability == pytest.approx(choice.before, rel=0.2, abs=1e-3)
    weights = [weight for part in inspect_model(model) if isinstance(part, ModelPart) for weight in part.weights]
    assert sum(weight.parameters for weight in weights) == model.parameter_count()
    products = {weight.dtype for weight in weights if weight.name.endswith(("c_fc.weight", "c_proj.weight"))}
    assert products == {"packed" if numbers == "int8" else numbers}
