"""Initial weights: the same logits as `transformers`, from single and several files, with padded rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from core.events import Note
from core.init.weights import load_initial_weights
from core.model.gpt import GPT
from core.model.weights import meta_device, save_model
from core.recipe.file import load
from core.storage.workspace import Workspace
from tests.core.gpt2_folders import SMALL, save_gpt2, transformers_gpt2
from tests.core.initial_weights import (
    SHAPE,
    VOCABULARY,
    assert_same_logits,
    characters_of,
    gpt2_like,
    load_error,
    load_model,
)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"tie_word_embeddings": False},
        {"n_layer": 3, "n_head": 4, "n_embd": 32},
        {"n_head": 1, "activation_function": "gelu_pytorch_tanh"},
    ],
    ids=str,
)
def test_logits_equal_those_of_transformers(tmp_path: Path, workspace: Workspace, config: dict[str, Any]) -> None:
    theirs = save_gpt2(tmp_path, vocab_size=300, **SMALL | config)
    fields = {name: value for name, value in config.items() if name.startswith("n_")}
    assert_same_logits(
        load_model(tmp_path, workspace, tie_embeddings=config.get("tie_word_embeddings", True), **fields), theirs
    )


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("size", "layers", "heads", "width", "count"),
    [
        ("gpt2", 12, 12, 768, 124_439_808),
        pytest.param("gpt2-medium", 24, 16, 1024, 354_823_168, marks=pytest.mark.slow),
        pytest.param("gpt2-large", 36, 20, 1280, 774_030_080, marks=pytest.mark.slow),
        pytest.param("gpt2-xl", 48, 25, 1600, 1_557_611_200, marks=pytest.mark.slow),
    ],
)
def test_logits_of_the_published_sizes_equal_those_of_transformers(
    tmp_path: Path, workspace: Workspace, size: str, layers: int, heads: int, width: int, count: int
) -> None:
    shape = load(preset=size).model
    assert (shape.n_layer, shape.n_head, shape.n_embd) == (layers, heads, width)
    theirs = save_gpt2(tmp_path, n_layer=layers, n_head=heads, n_embd=width)
    assert sum(parameter.numel() for parameter in theirs.parameters()) == count
    with meta_device():
        model = GPT(msgspec.structs.replace(shape, init=str(tmp_path)), 50257).eval()
    model.to_empty(device="cpu")
    for _ in load_initial_weights(model.config, model, gpt2_like(50257), workspace):
        pass
    assert_same_logits(model, theirs, 16)


@pytest.mark.parametrize("prefix", [True, False])
def test_older_files_with_masks_and_without_the_prefix_are_read(
    tmp_path: Path, workspace: Workspace, prefix: bool
) -> None:
    theirs = save_gpt2(tmp_path, vocab_size=300, **SMALL)
    tensors = load_file(tmp_path / "model.safetensors")
    for layer in range(2):
        tensors[f"transformer.h.{layer}.attn.bias"] = torch.tril(torch.ones(1, 1, 8, 8))
        tensors[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    if not prefix:
        tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    save_file(tensors, tmp_path / "model.safetensors")
    assert_same_logits(load_model(tmp_path, workspace), theirs)


def test_weights_in_several_files_are_one_model(tmp_path: Path, workspace: Workspace) -> None:
    theirs = save_gpt2(tmp_path, shard="12KB", vocab_size=300, **SMALL)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert_same_logits(load_model(tmp_path, workspace), theirs)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("model-00001", "../model-00001"))
    assert "names a file outside of its folder" in load_error(tmp_path, workspace)


def test_a_shorter_context_and_an_untied_head_fit(tmp_path: Path, workspace: Workspace) -> None:
    theirs = save_gpt2(tmp_path, vocab_size=300, **SMALL)
    assert_same_logits(load_model(tmp_path, workspace, block_size=4), theirs, 4)
    untied = load_model(tmp_path, workspace, tie_embeddings=False)
    assert_same_logits(untied, theirs)
    assert untied.lm_head.weight is not untied.wte.weight


def warnings(folder: Path, workspace: Workspace, **fields: Any) -> list[str]:
    """The warnings when a model of SHAPE with other fields is initialised from `folder`."""
    shape = msgspec.structs.replace(SHAPE, init=str(folder), **fields)
    notes = load_initial_weights(shape, GPT(shape, VOCABULARY.size), VOCABULARY, workspace)
    return [note.text for note in notes if isinstance(note, Note) and note.level == "warning"]


def test_a_missing_head_is_the_embedding_only_where_the_weights_say_that_they_are_tied(
    tmp_path: Path, workspace: Workspace
) -> None:
    save_gpt2(tmp_path, vocab_size=300, **SMALL)
    assert warnings(tmp_path, workspace) == []
    assert "starts as a copy of the embedding" in warnings(tmp_path, workspace, tie_embeddings=False)[0]
    config = tmp_path / "config.json"
    original = config.read_text()
    config.write_text(json.dumps(json.loads(original) | {"tie_word_embeddings": False}))
    assert "but lm_head.weight is missing" in load_error(tmp_path, workspace, tie_embeddings=False)
    config.write_text(original)
    tensors = load_file(tmp_path / "model.safetensors")
    same = tensors["transformer.wte.weight"].clone()
    for head, count in ((same, 0), (same + 1, 1)):
        save_file(tensors | {"lm_head.weight": head}, tmp_path / "model.safetensors")
        assert len(warnings(tmp_path, workspace)) == count
        assert warnings(tmp_path, workspace, tie_embeddings=False) == []


def test_padding_rows_and_the_mask_token_keep_their_random_values(tmp_path: Path, workspace: Workspace) -> None:
    theirs = save_gpt2(tmp_path, vocab_size=300, **SMALL)
    model = load_model(tmp_path, workspace, pad_vocabulary_multiple=64)
    assert_same_logits(model, theirs)
    masked = load_model(tmp_path, workspace, objective="masked")
    for each in (model, masked):
        torch.manual_seed(5)
        fresh = GPT(each.config, 300).wte.weight
        assert torch.equal(each.wte.weight[300:], fresh[300:])
        assert len(fresh) > 300
        assert torch.equal(each.wte.weight[:300], theirs.transformer.wte.weight)


def test_a_masked_model_of_ours_keeps_its_mask_token(tmp_path: Path, workspace: Workspace) -> None:
    torch.manual_seed(1)
    model = GPT(msgspec.structs.replace(SHAPE, objective="masked", pad_vocabulary_multiple=64), VOCABULARY.size).eval()
    save_model(model, tmp_path)
    VOCABULARY.save(tmp_path / "vocabulary.json")
    again = load_model(tmp_path, workspace, objective="masked", pad_vocabulary_multiple=8)
    ids = torch.tensor([[1, model.mask_token_id, 3, model.mask_token_id]])
    assert torch.equal(model(ids), again(ids))
    assert len(again.wte.weight) < len(model.wte.weight)


def test_half_precision_weights_become_float32(tmp_path: Path, workspace: Workspace) -> None:
    theirs = transformers_gpt2(vocab_size=300, **SMALL).half()
    theirs.save_pretrained(tmp_path)
    model = load_model(tmp_path, workspace)
    assert model.wte.weight.dtype == torch.float32
    assert_same_logits(model, theirs.float())


@pytest.mark.parametrize("more", [1, 64])
def test_rows_beyond_the_tokens_of_gpt2_are_left_out(tmp_path: Path, workspace: Workspace, more: int) -> None:
    theirs = save_gpt2(tmp_path, vocab_size=300 + more, **SMALL)
    (tmp_path / "vocab.json").write_text(json.dumps(characters_of(VOCABULARY) | {"<pad>": 300}))
    model = load_model(tmp_path, workspace)
    assert model.wte.weight.shape[0] == 300
    ids = torch.randint(300, (2, 8), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.allclose(model(ids), theirs(ids).logits[..., :300], atol=1e-4)
