"""Exported models compute in transformers what they compute here; the only tests that import its model classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from core.recipe.file import load, presets
from core.recipe.schema import Model
from core.sample.conversation import Message, apply_chat_template
from tests.byte_models import TEMPLATES
from tests.core.exporting import GPT2, MODERN, VOCABULARY, export, model_with_large_weights, save_checkpoint
from tests.core.generating import generate_ids, settings

pytestmark = pytest.mark.heavy

SIZE = {"n_layer": 2, "n_head": 4, "n_embd": 32, "block_size": 16}
PRESETS = {name: msgspec.structs.replace(load(preset=name).model, depth=None, **SIZE) for name in presets()}
VARIANTS: dict[str, tuple[Model, dict[str, Any]]] = {
    "grouped heads": (MODERN, {"n_kv_head": 2}),
    "one head of keys": (MODERN, {"n_kv_head": 1}),
    "tied": (MODERN, {"tie_embeddings": True}),
    "padded": (MODERN, {"pad_vocabulary_multiple": 128}),
    "tied, padded": (MODERN, {"tie_embeddings": True, "pad_vocabulary_multiple": 64}),
    "width not a multiple of 32": (MODERN, {"n_head": 3, "n_embd": 42}),
    "swiglu": (MODERN, {"activation": "swiglu"}),
    "swiglu, grouped heads, tied": (MODERN, {"activation": "swiglu", "n_kv_head": 2, "tie_embeddings": True}),
    "swiglu, padded, odd width": (MODERN, {"activation": "swiglu", "n_embd": 40, "pad_vocabulary_multiple": 64}),
    "gpt2 without biases": (GPT2, {"bias": False}),
    "gpt2 with biases of queries, keys, values alone": (GPT2, {"bias": False, "qkv_bias": True}),
    "gpt2, untied, padded, dropout": (
        GPT2,
        {"tie_embeddings": False, "pad_vocabulary_multiple": 64, "dropout": 0.1, "qkv_bias": False},
    ),
}
MODELS = PRESETS | {name: msgspec.structs.replace(model, **fields) for name, (model, fields) in VARIANTS.items()}


def load_exported(folder: Path) -> Any:
    """The model that transformers makes of a folder, without warnings about its weights."""
    transformers = pytest.importorskip("transformers")
    model, report = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return model


@pytest.mark.parametrize("name", MODELS)
def test_logits_equal_those_of_transformers(tmp_path: Path, name: str) -> None:
    model = model_with_large_weights(MODELS[name])
    export(save_checkpoint(tmp_path, model), tmp_path / "out")
    theirs = load_exported(tmp_path / "out")
    ids = torch.randint(VOCABULARY.size, (2, 16), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        ours, logits = model(ids), theirs(ids).logits
    assert logits.shape == ours.shape and ours.std() > 0.5
    assert torch.allclose(logits, ours, atol=1e-4)
    assert theirs.config.eos_token_id == VOCABULARY.end_of_text


def test_a_folder_has_all_that_a_chat_needs(tmp_path: Path) -> None:
    model = model_with_large_weights(MODERN)
    export(save_checkpoint(tmp_path, model), tmp_path / "out", chat=TEMPLATES)
    theirs = load_exported(tmp_path / "out")
    tokenizer = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(tmp_path / "out")
    messages = [Message(role="user", text="Hi é!")]
    prompt = apply_chat_template(messages, TEMPLATES).prompt
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi é!"}], add_generation_prompt=True, return_tensors="pt", return_dict=False
    )
    assert ids[0].tolist() == VOCABULARY.encode(prompt)
    ids = ids[:, -8:]
    text = theirs.generate(ids, attention_mask=torch.ones_like(ids), max_length=16, do_sample=False, eos_token_id=None)
    greedy = settings(tokens=8, temperature=0.0)
    assert generate_ids(model, ids[0].tolist(), greedy) == text[0, 8:].tolist()
    assert tokenizer.decode(text[0]) == VOCABULARY.decode(text[0].tolist())
