"""Weights in fewer bits: nearly the same scores, and never a number that is none."""

from __future__ import annotations

import math

import pytest
import torch
from msgspec.structs import replace

from core.model.gpt import GPT
from core.recipe.sampling import Precision
from core.recipe.schema import Model
from core.sample import precision
from core.sample.kv_decoder import KVDecoder
from core.sample.precision import PrecisionUnavailableError, convert_weights
from tests.core.generating import ids, settings

SHAPE = Model(n_layer=2, n_head=4, n_embd=64, block_size=48, zero_init=False, bias=True)


def made(shape: Model = SHAPE) -> GPT:
    torch.manual_seed(2)
    return GPT(shape, 100).eval()


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("wanted", "far"), [("float32", 0.0), ("float16", 0.005), ("bfloat16", 0.04), ("int8", 0.06)])
def test_scores_are_near_those_of_float32(wanted: Precision, far: float, tied: bool) -> None:
    shape = replace(SHAPE, tie_embeddings=tied)
    exact, kept = made(shape), made(shape)
    convert_weights(kept, wanted, parameters=1)
    for texts in (1, 3, 7):  # products of few and of many rows are made in two ways
        readers = KVDecoder(exact, [3, 1, 4, 1, 5]), KVDecoder(kept, [3, 1, 4, 1, 5])
        for reader in readers:
            reader.select([0] * texts)
            reader.append([9] * texts)
        expected, found = (reader.logits for reader in readers)
        assert (expected - found).abs().max() <= far * expected.std()
    assert len(ids(kept, [3], settings(tokens=100))) == 100


@pytest.mark.parametrize(("wanted", "bits"), [("float16", 16), ("bfloat16", 16)])
@pytest.mark.parametrize("tied", [False, True])
def test_no_weight_is_left_in_float32(wanted: Precision, bits: int, tied: bool) -> None:
    model = made(replace(SHAPE, tie_embeddings=tied))
    convert_weights(model, wanted, parameters=1)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    assert {8 * p.element_size() for p in matrices} == {bits}
    assert (model.lm_head.weight is model.wte.weight) is tied


def test_activations_beyond_the_numbers_of_float16_are_scaled() -> None:
    """Squares of what is above zero grow fast."""
    model = made()
    with torch.no_grad():
        for block in model.h:
            block.mlp.c_fc.weight *= 3000  # type: ignore[operator, union-attr]
    expected = KVDecoder(model, [3, 1]).logits
    convert_weights(model, "float16", parameters=1)
    reader = KVDecoder(model, [3])
    reader.append([1])
    assert (reader.logits - expected).abs().max() <= 0.02 * expected.std()


def test_weights_that_float16_does_not_have_are_refused() -> None:
    model = made()
    with torch.no_grad():
        model.h[0].mlp.c_proj.weight[0, 0] = 1e6  # type: ignore[index, union-attr]
    with pytest.raises(PrecisionUnavailableError, match="too large for float16"):
        convert_weights(model, "float16", parameters=1)


def test_a_small_model_stays_in_float32_and_a_large_one_takes_what_was_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert convert_weights(made(), "auto", parameters=5_000_000) == "float32, small enough"
    measured: dict[Precision, float] = {"float32": 3.0, "bfloat16": 2.0, "float16": 1.0}
    monkeypatch.setattr(precision, "_measure_formats", lambda width: measured)
    assert precision.choose_precision(SHAPE, 124_000_000) == ("float16", "float16, measured 3.0 times as fast here")
    measured |= {"bfloat16": 2.9, "float16": 2.9}
    assert precision.choose_precision(SHAPE, 124_000_000) == ("float32", "float32, as fast here as 16 bits")


def test_each_kind_of_numbers_is_measured() -> None:
    measured = precision._measure_formats(64)
    assert set(measured) == {"float32", "bfloat16", "float16"}
    assert all(0 < seconds < math.inf for seconds in measured.values())
