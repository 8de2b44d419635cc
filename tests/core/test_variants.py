"""Each variant of the model against its formula."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.model.gpt import GPT, MLP, SelfAttention
from core.model.layers import Norm
from core.recipe.schema import Model

SHAPE = Model(n_layer=2, n_head=4, n_embd=32, block_size=8, zero_init=False)


def shape(**fields: Any) -> Model:
    return msgspec.structs.replace(SHAPE, **fields)


def with_large_weights(model: GPT) -> GPT:
    """`model` with weights large enough that every part of it affects the logits."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


@pytest.fixture
def ids() -> Tensor:
    return torch.randint(50, (2, 8), generator=torch.Generator().manual_seed(1))


def gelu(x: Tensor) -> Tensor:  # GPT-2's, gpt-2/src/model.py
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


@pytest.mark.parametrize("bias", [True, False])
def test_swiglu_gates_one_half_with_the_other(bias: bool) -> None:
    torch.manual_seed(1)
    layer = MLP(shape(activation="swiglu", bias=bias, n_embd=48))
    assert layer.c_proj.weight.shape == (48, 128)  # 8/3 of the width: as many weights as 4 times without a gate
    x = torch.randn(2, 8, 48)
    gate, value = (x @ part.T for part in layer.c_fc.weight.chunk(2))
    if bias:
        gate, value = gate + layer.c_fc.bias[:128], value + layer.c_fc.bias[128:]
    expected = (gate / (1 + torch.exp(-gate)) * value) @ layer.c_proj.weight.T  # arXiv 2002.05202, equation 6
    expected = expected + layer.c_proj.bias if bias else expected
    assert torch.allclose(layer(x), expected, atol=1e-5)


@pytest.mark.parametrize(("name", "activation"), [("gelu", gelu), ("relu2", lambda x: x.clamp(min=0) ** 2)])
def test_mlp_is_two_matrices_and_an_activation(name: str, activation: Any) -> None:
    torch.manual_seed(1)
    layer = MLP(shape(activation=name))
    x = torch.randn(2, 8, 32)
    assert torch.allclose(layer(x), activation(x @ layer.c_fc.weight.T) @ layer.c_proj.weight.T, atol=1e-5)


def test_layer_norm_centres_and_rms_norm_only_scales() -> None:
    torch.manual_seed(1)
    x = torch.randn(3, 32) + 5
    rms, layer = Norm(shape(norm="rms")), Norm(shape(norm="layer", bias=True))
    assert torch.allclose(rms(x), x / (x**2).mean(-1, keepdim=True).sqrt(), atol=1e-5)
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred**2).mean(-1, keepdim=True)
    assert torch.allclose(layer(x), centred / (variance + 1e-5).sqrt(), atol=1e-5)
    assert {name for name, _ in rms.named_parameters()} == {"weight"}
    assert {name for name, _ in layer.named_parameters()} == {"weight", "bias"}


def plain_attention(layer: SelfAttention, x: Tensor, *, causal: bool, norm: bool) -> Tensor:
    """Four heads of 8, one after the other, by matrix products only."""
    q, k, v = (x @ part.T for part in layer.c_attn.weight.chunk(3))
    heads = []
    for start in range(0, 32, 8):
        query, key, value = (part[..., start : start + 8] for part in (q, k, v))
        if norm:
            query, key = (part / (part**2).mean(-1, keepdim=True).sqrt() for part in (query, key))
        scores = query @ key.transpose(-1, -2) / math.sqrt(8)
        if causal:
            scores = scores.masked_fill(torch.ones(8, 8).triu(1).bool(), -math.inf)
        heads.append(scores.softmax(-1) @ value)
    return torch.cat(heads, -1) @ layer.c_proj.weight.T


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("objective", ["causal", "masked"])
def test_attention_is_softmax_of_scaled_dot_products(objective: str, norm: bool) -> None:
    torch.manual_seed(1)
    layer = SelfAttention(shape(objective=objective, qk_norm=norm, positions="learned")).eval()
    x = torch.randn(2, 8, 32) * 3
    assert torch.allclose(layer(x), plain_attention(layer, x, causal=objective == "causal", norm=norm), atol=1e-5)


@pytest.mark.parametrize("kv", [1, 2])
@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_grouped_query_attention_equals_repeated_keys_and_values(kv: int, positions: str, ids: Tensor) -> None:
    grouped = with_large_weights(GPT(shape(n_kv_head=kv, positions=positions, bias=True), 50))
    full = GPT(shape(positions=positions, bias=True), 50).eval()
    state = grouped.state_dict()
    for layer in range(2):
        for name in (f"h.{layer}.attn.c_attn.weight", f"h.{layer}.attn.c_attn.bias"):
            queries, keys, values = state[name].split((32, 8 * kv, 8 * kv))
            repeated = [
                part.unflatten(0, (kv, 8)).repeat_interleave(4 // kv, 0).flatten(0, 1) for part in (keys, values)
            ]
            state[name] = torch.cat([queries, *repeated])
    full.load_state_dict(state)
    assert torch.allclose(grouped(ids), full(ids), rtol=1e-4, atol=1e-4)
    assert grouped.parameter_count() == full.parameter_count() - 2 * 2 * (32 + 1) * 8 * (4 - kv)


@pytest.mark.parametrize(
    ("bias", "qkv_bias", "expected"), [(True, None, 1), (False, None, 0), (True, False, 0), (False, True, 1)]
)
def test_queries_keys_and_values_have_biases_by_qkv_bias(
    bias: bool, qkv_bias: bool | None, expected: bool, ids: Tensor
) -> None:
    model = with_large_weights(GPT(shape(bias=bias, qkv_bias=qkv_bias), 50))
    attention = model.h[0].attn
    assert isinstance(attention, SelfAttention)
    assert (attention.c_attn.bias is not None) == expected
    assert (attention.c_proj.bias is not None) == bias
    if expected:
        before = model(ids)
        torch.nn.init.zeros_(attention.c_attn.bias)
        assert not torch.allclose(before, model(ids))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("objective", ["causal", "masked"])
def test_padding_rows_are_neither_used_nor_trained(tied: bool, objective: str, ids: Tensor) -> None:
    padded = with_large_weights(GPT(shape(pad_vocabulary_multiple=64, tie_embeddings=tied, objective=objective), 50))
    plain = GPT(shape(tie_embeddings=tied, objective=objective), 50).eval()
    used = len(plain.wte.weight)
    assert (used, len(padded.wte.weight)) == (50 + (objective == "masked"), 64)
    state = padded.state_dict()
    plain.load_state_dict(
        {name: t[:used] if name in ("wte.weight", "lm_head.weight") else t for name, t in state.items()}
    )
    with torch.no_grad():
        padded.wte.weight[used:] = 1e4
        padded.lm_head.weight[used:] = 1e4
    assert padded(ids).shape == (2, 8, 50)
    assert torch.allclose(padded(ids), plain(ids), atol=1e-4)
    more: dict[str, Any] = {"label_smoothing": 0.1, "z_loss": 1e-3}
    losses = [model.loss(ids, ids.flip(0), **more) for model in (padded, plain)]
    assert losses[0].nats.item() == pytest.approx(losses[1].nats.item(), rel=1e-5)
    assert losses[0].objective.item() == pytest.approx(losses[1].objective.item(), rel=1e-5)
    losses[0].objective.backward()
    for weight in (padded.wte.weight, padded.lm_head.weight):
        assert weight.grad is not None
        assert weight.grad[:50].abs().sum() > 0
        assert not weight.grad[50:].any()


def test_dropout_acts_while_training_and_not_afterwards(ids: Tensor) -> None:
    model = with_large_weights(GPT(shape(dropout=0.5), 50))
    assert torch.equal(model(ids), model(ids))
    model.train()
    assert not torch.allclose(model(ids), model(ids))


def test_a_tied_head_is_the_embedding(ids: Tensor) -> None:
    model = with_large_weights(GPT(shape(tie_embeddings=True), 50))
    assert torch.allclose(model(ids), F.linear(model.hidden_states(ids), model.wte.weight), atol=1e-4)
