"""Folders for mlx-lm: where they differ from those for transformers."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from core.export.request import ExportError
from tests.core.exporting import GPT2, MODERN, export, model_with_large_weights, save_checkpoint


def test_apertus_has_its_activation_as_tensors(tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path, model_with_large_weights(MODERN))
    for name in ("hf", "mlx"):
        export(checkpoint, tmp_path / name, name)
    theirs, ours = (load_file(tmp_path / name / "model.safetensors") for name in ("hf", "mlx"))
    added = {"alpha_n": [-16384.0], "alpha_p": [64.0], "beta": 0.0, "eps": pytest.approx(-1e-6)}
    for layer in range(MODERN.n_layer):
        mlp = f"model.layers.{layer}.mlp"
        assert {name: ours.pop(f"{mlp}.act_fn.{name}").tolist() for name in added} == added
        assert torch.equal(ours.pop(f"{mlp}.up_proj.weight"), theirs.pop(f"{mlp}.up_proj.weight") / 8)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    config = json.loads((tmp_path / "mlx" / "config.json").read_text())
    # without a default in mlx-lm
    assert {"mlp_bias": False, "post_norm": False, "qk_norm": True, "rope_theta": 10_000.0}.items() <= config.items()
    assert config["hidden_act"] == "xielu"


def test_gpt2_has_names_without_a_prefix(tmp_path: Path) -> None:
    export(save_checkpoint(tmp_path, model_with_large_weights(GPT2)), tmp_path / "out", "mlx")
    names = set(load_file(tmp_path / "out" / "model.safetensors"))
    assert {"wte.weight", "h.1.attn.c_attn.weight", "ln_f.bias"} <= names
    assert json.loads((tmp_path / "out" / "config.json").read_text())["n_ctx"] == 16


def test_gpt2_with_a_head_of_its_own_is_refused(tmp_path: Path) -> None:
    untied = msgspec.structs.replace(GPT2, tie_embeddings=False)
    checkpoint = save_checkpoint(tmp_path, model_with_large_weights(untied))
    with pytest.raises(ExportError, match="no head besides its embedding") as caught:
        export(checkpoint, tmp_path / "out", "mlx")
    assert "tie_embeddings=true" in caught.value.todo and not (tmp_path / "out").exists()
