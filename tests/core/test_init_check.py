"""Weights that do not fit the model are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.model.gpt import GPT
from core.model.weights import save_model
from core.storage.workspace import Workspace
from core.tokenize.vocabulary import Vocabulary
from tests.core.gpt2_folders import SMALL, save_gpt2
from tests.core.initial_weights import (
    BYTES,
    SHAPE,
    VOCABULARY,
    characters_of,
    gpt2_like,
    load_error,
    load_model,
)


@pytest.mark.heavy
def test_a_pickle_is_refused_with_instructions(tmp_path: Path, workspace: Workspace) -> None:
    save_gpt2(tmp_path, vocab_size=300, **SMALL)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    error = load_error(tmp_path, workspace)
    assert "pytorch_model.bin, a pickle" in error
    assert "save_pretrained" in error


@pytest.mark.heavy
def test_every_field_that_differs_is_named_with_both_values(tmp_path: Path, workspace: Workspace) -> None:
    save_gpt2(tmp_path, vocab_size=300, **SMALL)
    error = load_error(tmp_path, workspace, n_layer=3, block_size=16, bias=False, norm="rms")
    for clause in (
        "model.n_layer: the recipe says 3, the weights have 2",
        "model.block_size: the recipe says 16, the weights have 8",
        "model.bias: the recipe says false, the weights have true",
        "model.norm: the recipe says rms, the weights have layer",
        "--set model.n_layer=2 --set model.block_size=8 --set model.norm=layer --set model.bias=true",
    ):
        assert clause in error
    assert error.count("the recipe says") == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llama"}, "model_type 'llama'"),
        ({"activation_function": "relu"}, "activation_function is relu"),
        ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon is 1e-06"),
        ({"n_inner": 32}, "n_inner is 32"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ({"n_layer": 0}, "describes no model"),
        ({"n_layer": "two"}, "config.json cannot be read"),
    ],
    ids=str,
)
def test_a_model_that_is_no_gpt2_is_refused(
    tmp_path: Path, workspace: Workspace, change: dict[str, Any], message: str
) -> None:
    save_gpt2(tmp_path, vocab_size=300, **SMALL)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    assert message in load_error(tmp_path, workspace)


def test_damaged_weights_are_refused(tmp_path: Path, workspace: Workspace) -> None:
    save_gpt2(tmp_path, vocab_size=300, **SMALL)
    file = tmp_path / "model.safetensors"
    original = load_file(file)
    name = "transformer.h.1.mlp.c_fc.bias"
    changes: list[tuple[dict[str, torch.Tensor], str]] = [
        ({key: value for key, value in original.items() if key != name}, "without h.1.mlp.c_fc.bias"),
        ({**original, "extra": torch.ones(1)}, "with extra"),
        ({**original, name: torch.ones(63)}, "shape (63,) where (64,) is needed"),
        ({**original, name: torch.full((64,), float("nan"))}, "does not hold finite numbers"),
        ({**original, name: torch.ones(64, dtype=torch.int8)}, "does not hold finite numbers"),
        ({**original, "transformer.wte.weight": torch.ones(299, 16)}, "wte.weight has the shape"),
    ]
    for tensors, message in changes:
        save_file(tensors, file)
        assert message in load_error(tmp_path, workspace)
    file.write_bytes(file.read_bytes()[:1000])
    assert "model.safetensors cannot be read" in load_error(tmp_path, workspace)


def test_tokens_from_another_vocabulary_are_refused(tmp_path: Path, workspace: Workspace) -> None:
    words = "tokens from another vocabulary than the model's"
    save_gpt2(tmp_path / "hf", vocab_size=300, **SMALL)
    other = Vocabulary("bytes", "", BYTES, kind="bytes")
    assert words in load_error(tmp_path / "hf", workspace, vocabulary=other)
    assert words in load_error(tmp_path / "hf", workspace, vocabulary=gpt2_like(301))
    (tmp_path / "own").mkdir()
    save_model(GPT(SHAPE, 300), tmp_path / "own")
    VOCABULARY.save(tmp_path / "own" / "vocabulary.json")
    load_model(tmp_path / "own", workspace)
    shuffled = Vocabulary("gpt2", "", [*BYTES[::-1], *VOCABULARY.ranks[256:]], kind="pairs")
    assert words in load_error(tmp_path / "own", workspace, vocabulary=shuffled)
    (tmp_path / "own" / "vocabulary.json").unlink()
    assert "vocabulary.json" in load_error(tmp_path / "own", workspace)


def test_weights_with_other_tokens_are_refused(tmp_path: Path, workspace: Workspace) -> None:
    save_gpt2(tmp_path / "many", vocab_size=300 + 129, **SMALL)
    assert "theirs has 429 entries" in load_error(tmp_path / "many", workspace)
    save_gpt2(tmp_path / "other", vocab_size=301, **SMALL)
    theirs = characters_of(VOCABULARY)
    swapped = {token: {280: 281, 281: 280}.get(id_, id_) for token, id_ in theirs.items()}
    (tmp_path / "other" / "vocab.json").write_text(json.dumps(swapped))
    assert "another one than GPT-2's, from token 280 on" in load_error(tmp_path / "other", workspace)
