"""The model: published parameter counts, causality, saving and loading."""

from __future__ import annotations

import math
import os
from pathlib import Path

import msgspec
import pytest
import torch

from core.model.gpt import GPT
from core.model.layers import RotaryEmbedding
from core.model.weights import WeightsError, load_model, meta_device, save_model
from core.recipe.file import load
from core.recipe.schema import Model

GPT2 = load(preset="gpt2").model
SMALL = msgspec.structs.replace(GPT2, n_layer=2, n_head=2, n_embd=16, block_size=8, bias=False)


def count(shape: Model, vocabulary: int = 50257) -> int:
    with meta_device():
        return GPT(shape, vocabulary).parameter_count()


def test_gpt2_has_the_published_number_of_parameters() -> None:
    assert count(GPT2) == 124_439_808  # openai/gpt2 on the hub; llm.c num_parameters
    medium = msgspec.structs.replace(GPT2, n_layer=24, n_head=16, n_embd=1024)
    assert count(medium) == 354_823_168  # gpt2-medium on the hub
    assert count(msgspec.structs.replace(GPT2, bias=False)) == 124_337_664  # nanoGPT transformer_sizing.ipynb
    assert count(msgspec.structs.replace(GPT2, tie_embeddings=False)) == 124_439_808 + 50257 * 768


def test_flops_follow_the_palm_formula() -> None:
    with meta_device():
        model = GPT(msgspec.structs.replace(GPT2, bias=False), 50304)
    matrices = 12 * 12 * 768**2 + 50304 * 768
    assert model.flops_per_token() == 6 * matrices + 12 * 12 * 768 * 1024


@pytest.mark.parametrize("vocabulary", [65, 256, 4096])
def test_an_untrained_model_has_a_loss_near_log_vocab_size(vocabulary: int) -> None:
    torch.manual_seed(1)
    model = GPT(SMALL, vocabulary)
    ids = torch.randint(vocabulary, (16, 8))
    loss = model.loss(ids, torch.randint(vocabulary, (16, 8))).nats.item() / ids.numel()
    assert loss == pytest.approx(math.log(vocabulary), abs=0.05)


MODERN = Model(n_layer=2, n_head=2, n_embd=16, block_size=8)


def test_rotary_attention_scores_depend_on_distance_only() -> None:
    torch.manual_seed(1)
    turn = RotaryEmbedding(8, 32)
    q, k = torch.randn(8), torch.randn(8)
    turned_q, turned_k = (turn(vector.expand(1, 1, 32, 8))[0, 0] for vector in (q, k))
    scores = turned_q @ turned_k.T
    for distance in range(-5, 6):
        diagonal = torch.diagonal(scores, distance)
        assert torch.allclose(diagonal, diagonal[0].expand_as(diagonal), atol=1e-5)
    assert torch.allclose(turned_q.norm(dim=-1), q.norm().expand(32))


def test_a_zero_initialised_model_predicts_uniformly() -> None:
    torch.manual_seed(1)
    ids = torch.randint(50, (2, 8))
    assert GPT(MODERN, 50).loss(ids, ids).nats.item() / ids.numel() == pytest.approx(math.log(50), abs=1e-6)


@pytest.mark.parametrize("shape", [SMALL, MODERN], ids=["gpt2", "modern"])
def test_causal_logits_do_not_depend_on_later_tokens(shape: Model) -> None:
    torch.manual_seed(1)
    model = GPT(shape, 50).eval()
    torch.nn.init.normal_(model.lm_head.weight)
    for block in model.h:
        torch.nn.init.normal_(block.attn.c_proj.weight)  # type: ignore[union-attr, arg-type]
    ids = torch.randint(50, (1, 8))
    before = model(ids)
    for position in range(8):
        changed = ids.clone()
        changed[0, position] = (changed[0, position] + 1) % 50
        after = model(changed)
        assert torch.equal(before[:, :position], after[:, :position])
        assert not torch.allclose(before[:, position:], after[:, position:])


def test_bfloat16_stays_near_float32() -> None:
    torch.manual_seed(1)
    exact = GPT(SMALL, 50).eval()
    rounded = GPT(SMALL, 50, dtype=torch.bfloat16).eval()
    rounded.load_state_dict(exact.state_dict())
    ids = torch.randint(50, (2, 8))
    assert rounded(ids).dtype == torch.float32
    assert torch.allclose(exact(ids), rounded(ids), atol=0.02)
    rounded.loss(ids, ids).objective.backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in rounded.parameters())


@pytest.mark.parametrize("shape", [SMALL, MODERN], ids=["gpt2", "modern"])
@pytest.mark.parametrize("tied", [True, False])
def test_saved_weights_load_unchanged(tmp_path: Path, tied: bool, shape: Model) -> None:
    torch.manual_seed(1)
    model = GPT(msgspec.structs.replace(shape, tie_embeddings=tied, bias=True), 50).eval()
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    ids = torch.randint(50, (2, 8))
    assert torch.equal(model(ids), loaded(ids))
    assert (loaded.lm_head.weight is loaded.wte.weight) == tied
    assert loaded.parameter_count() == model.parameter_count()


def test_truncated_or_mismatched_weights_are_refused(tmp_path: Path) -> None:
    save_model(GPT(SMALL, 50), tmp_path)
    file = tmp_path / "model.json"
    file.write_text(file.read_text().replace('"n_embd": 16', '"n_embd": 32'))
    with pytest.raises(WeightsError, match="do not fit"):
        load_model(tmp_path)
    os.truncate(tmp_path / "model.safetensors", 100)
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        load_model(tmp_path)
    file.unlink()
    with pytest.raises(WeightsError):
        load_model(tmp_path)
