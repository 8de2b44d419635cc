"""Which architecture a recipe is exported as, or which fields prevent it."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from core.export.architectures import ARCHITECTURES, FREE, NotExportableError, architecture_of, nearest
from core.export.mappings import tensor_mappings
from core.model.count import parameters, tensor_shapes
from core.recipe.file import load, presets
from core.recipe.schema import Model

MODERN = Model(n_layer=2, n_head=4, n_embd=32, block_size=8)
GPT2 = Model(
    n_layer=2, n_head=4, n_embd=32, block_size=8, positions="learned", norm="layer", activation="gelu", qk_norm=False,
    bias=True, tie_embeddings=True,
)  # fmt: skip


def test_every_field_is_required_or_free() -> None:
    """A field that changes what a model computes would otherwise be exported as if it were not there."""
    for architecture in ARCHITECTURES:
        known = FREE | set(architecture.requires)
        known |= {"bias", "qkv_bias"} if architecture.name == "gpt2" else {"n_kv_head"}
        assert known == set(Model.__struct_fields__), architecture.name


@pytest.mark.parametrize("name", presets())
def test_every_preset_can_be_exported(name: str) -> None:
    expected = "gpt2" if name.startswith(("gpt2", "book")) else "apertus"
    assert architecture_of(load(preset=name).model).name == expected


@pytest.mark.parametrize(
    ("model", "fields", "what", "todo"),
    [
        (MODERN, {"objective": "masked"}, "model.objective = masked", "ApertusForCausalLM: --set model.objective=caus"),
        (MODERN, {"qk_norm": False}, "model.qk_norm = false", "ApertusForCausalLM: --set model.qk_norm=true"),
        (MODERN, {"bias": True}, "model.bias = true", "ApertusForCausalLM: --set model.bias=false"),
        (MODERN, {"qkv_bias": True}, "model.qkv_bias = true", "ApertusForCausalLM: --set model.qkv_bias=false"),
        (MODERN, {"activation": "gelu"}, "model.activation = gelu", "ApertusForCausalLM: --set model.activation=relu2"),
        (
            MODERN,
            {"activation": "swiglu", "norm": "layer"},
            "model.norm = layer",
            "Qwen3ForCausalLM: --set model.norm=rms",
        ),
        (
            GPT2,
            {"n_kv_head": 2, "norm": "rms"},
            "model.norm = rms with model.n_kv_head = 2",
            "GPT2LMHeadModel: --set model.norm=layer, leave model.n_kv_head out",
        ),
    ],
)
def test_a_refusal_names_the_fields_and_the_nearest_recipe(
    model: Model, fields: dict[str, Any], what: str, todo: str
) -> None:
    model = msgspec.structs.replace(model, **fields)
    with pytest.raises(NotExportableError) as caught:
        architecture_of(model)
    assert caught.value.what == f"no architecture of other programs has {what}"
    assert todo in caught.value.todo
    # the advice is enough
    needed = {obstacle.field: obstacle.needed for obstacle in nearest(model).obstacles}
    architecture_of(msgspec.structs.replace(model, **needed))


@pytest.mark.parametrize("model", [MODERN, GPT2, msgspec.structs.replace(MODERN, n_kv_head=2, activation="swiglu")])
def test_every_number_is_exported_once_and_padding_not_at_all(model: Model) -> None:
    model = msgspec.structs.replace(model, pad_vocabulary_multiple=64)
    covered = dict.fromkeys(shapes := tensor_shapes(model, 70), 0)
    for mapping in tensor_mappings(model, 70, architecture_of(model)):
        if mapping.source:
            covered[mapping.source] += math.prod(mapping.size)
    unpadded = msgspec.structs.replace(model, pad_vocabulary_multiple=1)
    assert covered == {name: math.prod(size) for name, size in tensor_shapes(unpadded, 70).items()}
    assert sum(covered.values()) == parameters(unpadded, 70).total
    assert shapes["wte.weight"][0] == 128
