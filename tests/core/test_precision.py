"""Weights in 16 bits and int8: logits close to float32, and finite."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from msgspec.structs import replace

from core.model.gpt import GPT
from core.recipe.sampling import Precision
from core.recipe.schema import Model
from core.sample import precision
from core.sample.kv_decoder import KVDecoder
from core.sample.precision import PrecisionUnavailableError, convert_weights
from tests.core.generating import generate_ids, settings

SHAPE = Model(n_layer=2, n_head=4, n_embd=64, block_size=48, zero_init=False, bias=True)


def make_model(shape: Model = SHAPE) -> GPT:
    torch.manual_seed(2)
    return GPT(shape, 100).eval()


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("precision_name", "tolerance"), [("float32", 0.0), ("float16", 0.005), ("bfloat16", 0.04), ("int8", 0.06)]
)
def test_logits_are_close_to_float32(precision_name: Precision, tolerance: float, tied: bool) -> None:
    shape = replace(SHAPE, tie_embeddings=tied)
    float32_model, converted = make_model(shape), make_model(shape)
    convert_weights(converted, precision_name, parameters=1)
    for texts in (1, 3, 7):  # small and large batches use different matrix products
        decoders = KVDecoder(float32_model, [3, 1, 4, 1, 5]), KVDecoder(converted, [3, 1, 4, 1, 5])
        for decoder in decoders:
            decoder.select([0] * texts)
            decoder.append([9] * texts)
        expected, computed = (decoder.logits for decoder in decoders)
        assert (expected - computed).abs().max() <= tolerance * expected.std()
    assert len(generate_ids(converted, [3], settings(tokens=100))) == 100


@pytest.mark.parametrize(("precision_name", "bits"), [("float16", 16), ("bfloat16", 16)])
@pytest.mark.parametrize("tied", [False, True])
def test_no_matrix_stays_in_float32(precision_name: Precision, bits: int, tied: bool) -> None:
    model = make_model(replace(SHAPE, tie_embeddings=tied))
    convert_weights(model, precision_name, parameters=1)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    assert {8 * p.element_size() for p in matrices} == {bits}
    assert (model.lm_head.weight is model.wte.weight) is tied


def test_activations_beyond_the_range_of_float16_are_scaled() -> None:
    """relu2 squares its input, which overflows float16."""
    model = make_model()
    with torch.no_grad():
        for block in model.h:
            block.mlp.c_fc.weight *= 3000  # type: ignore[operator, union-attr]
    expected = KVDecoder(model, [3, 1]).logits
    convert_weights(model, "float16", parameters=1)
    decoder = KVDecoder(model, [3])
    decoder.append([1])
    assert (decoder.logits - expected).abs().max() <= 0.02 * expected.std()


def test_weights_beyond_the_range_of_float16_are_refused() -> None:
    model = make_model()
    block: Any = model.h[0]
    with torch.no_grad():
        block.mlp.c_proj.weight[0, 0] = 1e6
    with pytest.raises(PrecisionUnavailableError, match="too large for float16"):
        convert_weights(model, "float16", parameters=1)


def test_a_small_model_stays_in_float32_and_a_large_one_uses_the_fastest_format(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert convert_weights(make_model(), "auto", parameters=5_000_000) == "float32, small enough"
    measured: dict[Precision, float] = {"float32": 3.0, "bfloat16": 2.0, "float16": 1.0}
    monkeypatch.setattr(precision, "_measure_formats", lambda width: measured)
    assert precision.choose_precision(SHAPE, 124_000_000) == ("float16", "float16, measured 3.0 times as fast here")
    measured |= {"bfloat16": 2.9, "float16": 2.9}
    assert precision.choose_precision(SHAPE, 124_000_000) == ("float32", "float32, as fast here as 16 bits")


@pytest.mark.heavy
def test_each_number_format_is_measured() -> None:
    measured = precision._measure_formats(64)
    assert set(measured) == {"float32", "bfloat16", "float16"}
    assert all(0 < seconds < math.inf for seconds in measured.values())
