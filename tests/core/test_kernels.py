"""Attention, linear layers and loss against the plain formulas, gradients included."""

from __future__ import annotations

import shutil

import pytest
import torch
import torch.nn.functional as F

from core.model import matmul
from core.model.attention import attend
from core.model.gpt import GPT
from core.model.layers import RotaryEmbedding, relu_squared, rms_norm
from core.model.loss import IGNORE, head_loss
from core.model.tiling import ROWS
from core.recipe.schema import Model


@pytest.mark.parametrize("length", [1, 7, 128, 129, 300, 700])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_attention_in_blocks_equals_the_fused_kernel(length: int, causal: bool, groups: int) -> None:
    torch.manual_seed(1)
    q = torch.randn(2, 4, length, 8, requires_grad=True)
    k, v = (torch.randn(2, groups, length, 8, requires_grad=True) for _ in range(2))
    out = torch.randn(2, 4, length, 8)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)
    wanted = torch.autograd.grad((expected * out).sum(), (q, k, v))
    got = attend(q, k, v, causal=causal)
    assert torch.allclose(got, expected, atol=1e-5)
    for gradient, right in zip(torch.autograd.grad((got * out).sum(), (q, k, v)), wanted, strict=True):
        assert torch.allclose(gradient, right, atol=1e-4)


def test_attention_dropout_has_its_probability() -> None:
    torch.manual_seed(1)
    q = k = torch.zeros(4, 2, 200, 200)
    kept = attend(q, k, torch.eye(200, 200).expand(4, 2, 200, 200), causal=False, dropout=0.25)
    assert (kept == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert kept[kept > 0].unique().tolist() == pytest.approx([1 / 200 / 0.75])


@pytest.mark.parametrize("smoothing", [0, 0.1])
@pytest.mark.parametrize("z_loss", [0, 0.01])
@pytest.mark.parametrize("rows", [50, 64])
def test_loss_and_gradient_equal_the_unfused_formula(
    smoothing: float, z_loss: float, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ROWS, "cpu", 100)  # several pieces, the last one shorter
    torch.manual_seed(1)
    hidden, head = torch.randn(330, 16, requires_grad=True), torch.randn(rows, 16, requires_grad=True)
    targets, weights = torch.randint(50, (330,)), torch.rand(330)
    targets[::7] = IGNORE
    scores = (hidden @ head.T)[:, :50]
    plain = F.cross_entropy(scores, targets, ignore_index=IGNORE, reduction="none")
    each = F.cross_entropy(scores, targets, ignore_index=IGNORE, reduction="none", label_smoothing=smoothing)
    each = (each + z_loss * torch.logsumexp(scores, -1) ** 2) * (targets != IGNORE)
    wanted = torch.autograd.grad((each * weights).sum() / 3, (hidden, head))
    got = head_loss(hidden, head, targets, vocab_size=50, weights=weights, label_smoothing=smoothing, z_loss=z_loss)
    assert got.objective.item() == pytest.approx((each * weights).sum().item(), rel=1e-5)
    assert got.nats.item() == pytest.approx((plain * weights).sum().item(), rel=1e-5)
    for gradient, right in zip(torch.autograd.grad(got.objective / 3, (hidden, head)), wanted, strict=True):
        assert torch.allclose(gradient, right, atol=1e-5)


def test_the_loss_of_large_logits_does_not_overflow() -> None:
    hidden, head = torch.full((3, 1), 1e4), torch.tensor([[1.0], [-1.0]])
    assert head_loss(hidden, head, torch.tensor([0, 0, 1]), vocab_size=2).nats.item() == pytest.approx(2e4)


@pytest.mark.skipif(not matmul.ONEDNN, reason="this processor's products are MKL's")
def test_onednn_linear_equals_torch_linear() -> None:
    torch.manual_seed(1)
    for shape in ((5, 12), (3, 4, 12), (1, 12)):
        x, weight, bias = torch.randn(shape), torch.randn(7, 12), torch.randn(7)
        for tensor in (x, weight, bias):
            tensor.requires_grad_()
        expected = F.linear(x, weight, bias)
        wanted = torch.autograd.grad(expected.square().sum(), (x, weight, bias))
        got = matmul.linear(x, weight, bias)
        assert torch.allclose(got, expected, atol=1e-5)
        for gradient, right in zip(torch.autograd.grad(got.square().sum(), (x, weight, bias)), wanted, strict=True):
            assert torch.allclose(gradient, right, rtol=1e-4, atol=1e-4)


@pytest.mark.heavy
def test_rms_norm_and_relu_squared_have_correct_gradients() -> None:
    torch.manual_seed(1)
    x = torch.randn(3, 5, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(relu_squared, x)
    x = torch.randn(3, 5, 16, requires_grad=True)
    out = torch.randn(3, 5, 16)
    wanted = torch.autograd.grad((F.rms_norm(x, (16,), eps=1e-6) * out).sum(), x)[0]
    got = rms_norm(x)
    assert torch.allclose(got, F.rms_norm(x, (16,), eps=1e-6), atol=1e-6)
    assert torch.allclose(torch.autograd.grad((got * out).sum(), x)[0], wanted, atol=1e-5)
    assert torch.equal(rms_norm(torch.zeros(2, 4)), torch.zeros(2, 4))


def test_rotary_embedding_has_a_correct_gradient() -> None:
    torch.manual_seed(1)
    turn = RotaryEmbedding(8, 6).double()
    assert torch.autograd.gradcheck(turn, torch.randn(2, 3, 6, 8, dtype=torch.float64, requires_grad=True))


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="compiling takes a compiler")
def test_compiled_blocks_have_the_same_gradients() -> None:
    torch.manual_seed(1)
    shape = Model(n_layer=2, n_head=2, n_embd=32, block_size=16, zero_init=False)
    plain, compiled = GPT(shape, 50), GPT(shape, 50)
    compiled.load_state_dict(plain.state_dict())
    compiled.compile_blocks()
    ids = torch.randint(50, (4, 16))
    for model in (plain, compiled):
        model.loss(ids, ids).objective.backward()
    for left, right in zip(plain.parameters(), compiled.parameters(), strict=True):
        assert left.grad is not None and right.grad is not None
        assert torch.allclose(left.grad, right.grad, atol=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1
    assert not torch._dynamo.utils.counters["graph_break"]
