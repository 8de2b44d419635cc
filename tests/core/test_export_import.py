"""What was exported comes back bit-equal as initial weights; other folders of transformers are refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

import core.export.hf
from core.init.config import read_config
from core.init.resolve import Resolver
from core.init.spec import InitError
from core.init.weights import check_initial_weights, load_initial_weights
from core.model.gpt import GPT
from core.recipe.file import load
from core.storage.workspace import Workspace
from core.tokenize.characters import byte_vocabulary
from core.tokenize.vocabulary import Vocabulary
from tests.core.exporting import GPT2, MODERN, VOCABULARY, export, model_with_large_weights, save_checkpoint

MODELS = {
    "apertus": msgspec.structs.replace(MODERN, n_kv_head=2, pad_vocabulary_multiple=64),
    "qwen3": msgspec.structs.replace(MODERN, activation="swiglu", tie_embeddings=True),
    "gpt2": msgspec.structs.replace(GPT2, tie_embeddings=False),
    "book": msgspec.structs.replace(GPT2, qkv_bias=False, tie_embeddings=False),
    "nanoGPT": msgspec.structs.replace(GPT2, bias=False),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The models, exported in several files each."""
    root = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core.export.hf, "MAX_SHARD_BYTES", 40_000)
        for name, model in MODELS.items():
            (root / "runs" / name).mkdir(parents=True)
            checkpoint = save_checkpoint(root / "runs" / name, model_with_large_weights(model))
            export(checkpoint, root / name)
    return {name: root / name for name in MODELS}


def recipe_from(folder: Path, **fields: Any) -> Any:
    """A recipe that says nothing about the model but its initial weights."""
    overrides = [f"model.{name}={json.dumps(value)}" for name, value in fields.items()]
    return load(overrides=[f"model.init={folder}", *overrides], init=Resolver(Workspace()))


def imported(folder: Path, workspace: Workspace, vocabulary: Vocabulary = VOCABULARY, **fields: Any) -> GPT:
    recipe = recipe_from(folder, **fields)
    for _ in check_initial_weights(recipe, workspace):
        pass
    torch.manual_seed(5)
    model = GPT(recipe.model, vocabulary.size).eval()
    for _ in load_initial_weights(recipe.model, model, vocabulary, workspace):
        pass
    return model


def loss(model: GPT) -> float:
    ids = torch.randint(VOCABULARY.size, (4, 17), generator=torch.Generator().manual_seed(3))
    return model.loss(ids[:, :-1], ids[:, 1:]).nats.item()


@pytest.mark.parametrize("name", MODELS)
def test_the_same_loss_to_the_bit(folders: dict[str, Path], workspace: Workspace, name: str) -> None:
    original, back = model_with_large_weights(MODELS[name]), imported(folders[name], workspace)
    rows = ("wte.weight", "lm_head.weight")  # padding is left out
    expected = {
        name: tensor[: VOCABULARY.size] if name in rows else tensor for name, tensor in original.named_parameters()
    }
    found = dict(back.named_parameters())
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert loss(back) == loss(original)
    differing = {"depth", "init", "zero_init", "pad_vocabulary_multiple", "n_kv_head", "qkv_bias"}
    ours, theirs = (msgspec.structs.asdict(model.config) for model in (original, back))
    assert {field for field in ours if ours[field] != theirs[field]} <= differing


def test_a_shorter_context_and_padding_are_the_recipes(folders: dict[str, Path], workspace: Workspace) -> None:
    model = imported(folders["apertus"], workspace, block_size=8, pad_vocabulary_multiple=128)
    assert model.wte.weight.shape[0] == 384
    ids = torch.randint(VOCABULARY.size, (2, 8))
    assert torch.equal(model(ids), model_with_large_weights(MODELS["apertus"])(ids))


def changed(folder: Path, to: Path, change: dict[str, Any]) -> Path:
    """A copy of `folder` with other fields in its config.json."""
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    config = json.loads((to / "config.json").read_text()) | change
    (to / "config.json").write_text(json.dumps({name: value for name, value in config.items() if value != "absent"}))
    return to


# the fields that decide what they compute, of Qwen/Qwen3-0.6B and swiss-ai/Apertus-8B-2509
QWEN3_600M = {
    "model_type": "qwen3", "vocab_size": 151936, "hidden_size": 1024, "intermediate_size": 3072,
    "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
    "hidden_act": "silu", "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "rope_theta": 1000000,
    "rope_scaling": None, "attention_bias": False, "use_sliding_window": False, "sliding_window": None,
    "max_window_layers": 28, "tie_word_embeddings": True,
}  # fmt: skip
APERTUS_8B = {
    "model_type": "apertus", "vocab_size": 131072, "hidden_size": 4096, "intermediate_size": 21504,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_act": "xielu",
    "max_position_embeddings": 65536, "rms_norm_eps": 1e-5, "rope_theta": 12000000, "attention_bias": False,
    "rope_scaling": {
        "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        "rope_type": "llama3", "type": "llama3",
    },
    "mlp_bias": False, "post_norm": False, "qk_norm": True, "tie_word_embeddings": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "features"),
    [
        (QWEN3_600M, ["base of the rotary embedding", "size of a head", "width of the MLP"]),
        (
            APERTUS_8B,
            ["activation", "epsilon of RMSNorm", "rope scaling", "base of the rotary embedding", "width of the MLP"],
        ),
    ],
    ids=["qwen3", "apertus"],
)
def test_a_published_model_is_refused_with_all_features_that_ours_lacks(
    tmp_path: Path, config: dict[str, Any], features: list[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InitError) as caught:
        read_config(tmp_path)
    listed = caught.value.what.removeprefix("our model does not have its ")
    assert [each.partition(" (")[0] for each in listed.split("), ")] == features


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("apertus", {"hidden_act": "xielu"}, "hidden_act is xielu, not relu2"),
        ("apertus", {"hidden_act": "absent"}, "hidden_act is xielu, not relu2"),
        ("apertus", {"rms_norm_eps": 1e-5}, "rms_norm_eps is 1e-05, not 1e-06"),
        ("apertus", {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "rope_type is llama3"),
        ("apertus", {"rope_parameters": None, "rope_theta": "absent"}, "rope_type is llama3, not default"),
        ("qwen3", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}, "rope_theta is 1000000.0, not"),
        ("qwen3", {"rope_parameters": None, "rope_theta": 1e6}, "rope_theta is 1000000.0, not 10000.0"),
        ("qwen3", {"head_dim": 128}, "head_dim is 128, not 8"),
        ("qwen3", {"head_dim": "absent"}, "head_dim is 128, not 8"),
        ("qwen3", {"intermediate_size": 96}, "intermediate_size is 96, not 88"),
        ("qwen3", {"use_sliding_window": True}, "sliding window (use_sliding_window is True, not False)"),
        ("qwen3", {"attention_bias": True}, "without h.0.attn.c_attn.bias"),
        ("qwen3", {"num_hidden_layers": 0}, "config.json describes no model"),
        ("qwen3", {"hidden_size": "wide"}, "config.json cannot be read"),
        ("gpt2", {"model_type": "llama"}, "model_type 'llama'; only 'qwen3', 'gpt2', 'apertus' can be used"),
        ("book", {"llmtui": "absent"}, "model.qkv_bias"),
    ],
)
def test_what_our_model_cannot_express_is_named(
    folders: dict[str, Path], tmp_path: Path, workspace: Workspace, name: str, change: dict[str, Any], message: str
) -> None:
    folder = changed(folders[name], tmp_path / "changed", change)
    fields: dict[str, Any] = {"qkv_bias": False} if name == "book" else {}
    with pytest.raises(Exception) as caught:  # RecipeError or InitError, by what finds it
        imported(folder, workspace, **fields)
    assert message in caught.value.sentence()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "tensor", "value", "message"),
    [
        ("qwen3", "model.layers.1.self_attn.q_norm.weight", torch.full((8,), 2.0), "q_norm.weight is not 1 throughout"),
        ("book", "transformer.h.0.attn.c_attn.bias", torch.full((96,), 0.5), "c_attn.bias is not 0 throughout"),
        ("apertus", "model.layers.0.self_attn.k_proj.weight", torch.zeros(32, 32), "has the shape (32, 32) where (64,"),
        ("apertus", "model.layers.0.self_attn.v_proj.weight", None, "without h.0.attn.c_attn.weight"),
        ("apertus", "model.layers.0.self_attn.sinks", torch.zeros(4), "with model.layers.0.self_attn.sinks"),
    ],
)
def test_tensors_that_our_model_does_not_have_are_named(
    folders: dict[str, Path],
    tmp_path: Path,
    workspace: Workspace,
    name: str,
    tensor: str,
    value: torch.Tensor | None,
    message: str,
) -> None:
    folder = changed(folders[name], tmp_path / "changed", {})
    tensors = {key: each for file in folder.glob("model-*") for key, each in load_file(file).items()}
    tensors = {key: each for key, each in (tensors | {tensor: value}).items() if each is not None}
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(InitError) as caught:
        imported(folder, workspace)
    assert message in caught.value.sentence()


def test_tokens_must_mean_the_same(folders: dict[str, Path], tmp_path: Path, workspace: Workspace) -> None:
    folder = changed(folders["qwen3"], tmp_path / "changed", {})
    other = Vocabulary("bytes", "", tuple(reversed(byte_vocabulary().ranks)), kind="bytes")
    with pytest.raises(InitError, match="tokens from another vocabulary than the model's"):
        imported(folder, workspace, vocabulary=other)
    (folder / "vocabulary.json").unlink()
    with pytest.raises(InitError, match=r"there is no vocabulary\.json in it") as caught:
        imported(folder, workspace)
    assert "cannot be trained on" in caught.value.todo
