"""Parameters and FLOPs against the model's own and published counts."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.model.count import embedding_rows, flops_per_token, parameters, tensor_shapes
from core.model.gpt import GPT
from core.model.weights import meta_device
from core.recipe.file import load
from core.recipe.schema import Model

GPT2 = load(preset="gpt2").model
BOOK = msgspec.structs.replace(GPT2, tie_embeddings=False, qkv_bias=False)


@st.composite
def shapes(draw: st.DrawFn) -> Model:
    """Any model there can be, small."""
    groups, heads = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return Model(
        objective=draw(st.sampled_from(("causal", "masked"))),
        n_layer=draw(st.integers(1, 3)),
        n_head=groups * heads,
        n_kv_head=draw(st.sampled_from((None, groups))),
        n_embd=groups * heads * 2 * draw(st.integers(1, 5)),
        block_size=draw(st.integers(1, 40)),
        positions=draw(st.sampled_from(("learned", "rotary"))),
        norm=draw(st.sampled_from(("layer", "rms"))),
        activation=draw(st.sampled_from(("gelu", "swiglu", "relu2"))),
        qk_norm=draw(st.booleans()),
        bias=draw(st.booleans()),
        qkv_bias=draw(st.sampled_from((None, False, True))),
        tie_embeddings=draw(st.booleans()),
        pad_vocabulary_multiple=draw(st.sampled_from((1, 7, 64))),
    )


@pytest.mark.heavy
@given(shapes(), st.integers(1, 300))
def test_parameters_by_part_equal_those_of_the_model(shape: Model, vocabulary: int) -> None:
    with meta_device():
        model = GPT(shape, vocabulary)
    found = dict.fromkeys(("wte", "wpe", "attn", "mlp", "ln", "lm_head"), 0)
    for name, parameter in model.named_parameters():
        found[next(part for part in found if part in name)] += parameter.numel()
    assert list(found.values()) == list(msgspec.structs.astuple(parameters(shape, vocabulary)))
    assert model.parameter_count() == sum(parameter.numel() for parameter in model.parameters())
    named = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert named == tensor_shapes(shape, vocabulary)


@pytest.mark.heavy
@given(shapes(), st.integers(1, 300))
def test_flops_equal_those_of_the_models_matrices(shape: Model, vocabulary: int) -> None:
    with meta_device():
        model = GPT(shape, vocabulary)
    multiplied = sum(p.numel() for p in model.h.parameters() if p.dim() == 2) + model.lm_head.weight.numel()
    attention = 12 * shape.n_layer * shape.n_embd * shape.block_size
    assert model.flops_per_token() == flops_per_token(shape, vocabulary).training == 6 * multiplied + attention


@pytest.mark.parametrize(
    ("shape", "vocabulary", "total"),
    [
        (GPT2, 50257, 124_439_808),  # openai/gpt2 on the hub; llm.c num_parameters
        (msgspec.structs.replace(GPT2, bias=False), 50257, 124_337_664),  # nanoGPT transformer_sizing.ipynb
        (BOOK, 50257, 163_009_536),  # Raschka, chapter 4
        (msgspec.structs.replace(BOOK, block_size=256), 50257, 162_419_712),  # Raschka, chapter 5
        (msgspec.structs.replace(BOOK, n_layer=24, n_head=16, n_embd=1024), 50257, 406_212_608),  # exercise 4.2
        (msgspec.structs.replace(BOOK, n_layer=36, n_head=20, n_embd=1280), 50257, 838_220_800),
        (msgspec.structs.replace(BOOK, n_layer=48, n_head=25, n_embd=1600), 50257, 1_637_792_000),
    ],
)
def test_published_models_have_their_published_number_of_parameters(shape: Model, vocabulary: int, total: int) -> None:
    assert parameters(shape, vocabulary).total == total


def test_parameters_by_part_equal_those_of_the_book() -> None:
    one = parameters(msgspec.structs.replace(BOOK, n_layer=1), 50257)
    assert one.feed_forward == 4_722_432  # Raschka, exercise 4.1
    assert one.attention == 2_360_064
    tied = msgspec.structs.replace(BOOK, tie_embeddings=True)
    assert parameters(tied, 50257).total == 124_412_160  # Raschka, chapter 4
    assert parameters(tied, 50257).output == 0


def test_flops_are_those_of_nanogpts_notebook() -> None:
    shape = msgspec.structs.replace(GPT2, bias=False)
    assert 1024 * flops_per_token(shape, 50257).forward == 291_648_307_200  # transformer_sizing.ipynb, forward_total
    # PaLM's 6N counts the norms too, which multiply no matrices
    norms = parameters(shape, 50257).norms
    assert 1024 * (flops_per_token(shape, 50257).training + 6 * norms) == 875_062_886_400  # the same, PaLM
    assert flops_per_token(shape, 50304).training + 6 * norms == 854_770_176  # nanoGPT's estimate_mfu


def test_embedding_rows_include_padding_and_the_mask_token() -> None:
    assert embedding_rows(Model(pad_vocabulary_multiple=64), 50257) == 50304
    assert embedding_rows(Model(objective="masked"), 256) == 257


def test_counting_needs_no_torch() -> None:
    code = "import core.model.count, core.model.memory, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
