"""Folders that transformers writes, as initial weights: our logits are those of its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from core.init.resolve import Resolver
from core.init.weights import check_initial_weights, load_initial_weights
from core.model.gpt import GPT
from core.recipe.file import load
from core.storage.workspace import Workspace
from tests.core.exporting import VOCABULARY

pytestmark = pytest.mark.interop

SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY.size, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 4, "head_dim": 8, "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 0,
    "pad_token_id": None, "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}, "rms_norm_eps": 1e-6,
}  # fmt: skip
CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3": ("Qwen3", {"intermediate_size": 88}),
    "apertus": ("Apertus", {"intermediate_size": 128, "hidden_act": "relu2"}),
}
FEATURES: dict[str, dict[str, Any]] = {
    "plain": {},
    "tied": {"tie_word_embeddings": True},
    "grouped heads": {"num_key_value_heads": 2},
    "biases": {"attention_bias": True},
    "biases, grouped heads, tied": {"attention_bias": True, "num_key_value_heads": 1, "tie_word_embeddings": True},
}


@pytest.fixture
def theirs(tmp_path: Path) -> Any:
    """Makes a model of transformers whose every weight affects the logits, except the norms of queries and keys."""
    transformers = pytest.importorskip("transformers")

    def make(kind: str, **fields: Any) -> Any:
        name, special = CLASSES[kind]
        config = getattr(transformers, f"{name}Config")(**(SHAPE | special | fields))
        torch.manual_seed(1)
        model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "q_norm" not in name and "k_norm" not in name:
                    parameter.normal_(mean=1.0 if "norm" in name else 0.0, std=0.3)
        return model

    return make


def imported(folder: Path, workspace: Workspace) -> GPT:
    VOCABULARY.save(folder / "vocabulary.json")
    recipe = load(overrides=[f"model.init={folder}"], init=Resolver(workspace))
    for _ in check_initial_weights(recipe, workspace):
        pass
    torch.manual_seed(5)
    model = GPT(recipe.model, VOCABULARY.size).eval()
    for _ in load_initial_weights(recipe.model, model, VOCABULARY, workspace):
        pass
    return model


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("feature", FEATURES)
def test_logits_are_those_of_transformers(
    theirs: Any, tmp_path: Path, workspace: Workspace, kind: str, feature: str
) -> None:
    model = theirs(kind, **FEATURES[feature])
    model.save_pretrained(tmp_path / "out", max_shard_size="20KB")
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 2
    ids = torch.randint(VOCABULARY.size, (2, 16), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected, ours = model(ids).logits, imported(tmp_path / "out", workspace)(ids)
    assert expected.std() > 0.5 and torch.allclose(ours, expected, atol=1e-4)


def test_bfloat16_as_published(theirs: Any, tmp_path: Path, workspace: Workspace) -> None:
    transformers = pytest.importorskip("transformers")
    theirs("qwen3", tie_word_embeddings=True).to(torch.bfloat16).save_pretrained(tmp_path / "out")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    ids = torch.randint(VOCABULARY.size, (2, 16), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected, ours = model(ids).logits, imported(tmp_path / "out", workspace)(ids)
    assert torch.allclose(ours, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("qwen3", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "rope scaling"),
        ("qwen3", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}, "base of the rotary embedding"),
        ("qwen3", {"head_dim": 16}, "size of a head"),
        ("qwen3", {"intermediate_size": 96}, "width of the MLP"),
        ("apertus", {"hidden_act": "xielu"}, "activation"),
        ("apertus", {"rms_norm_eps": 1e-5}, "epsilon of RMSNorm"),
    ],
)
def test_what_computes_otherwise_is_refused_by_name(
    theirs: Any, tmp_path: Path, workspace: Workspace, kind: str, fields: dict[str, Any], message: str
) -> None:
    theirs(kind, **fields).save_pretrained(tmp_path / "out")
    with pytest.raises(Exception, match=message):
        imported(tmp_path / "out", workspace)


def test_trained_norms_of_queries_and_keys_are_refused_by_name(
    theirs: Any, tmp_path: Path, workspace: Workspace
) -> None:
    model = theirs("qwen3")
    with torch.no_grad():
        model.model.layers[1].self_attn.k_norm.weight.mul_(1.5)
    model.save_pretrained(tmp_path / "out")
    with pytest.raises(Exception, match=r"layers\.1\.self_attn\.k_norm\.weight is not 1 throughout"):
        imported(tmp_path / "out", workspace)
