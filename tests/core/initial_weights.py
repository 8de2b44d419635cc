"""Loading initial weights into small models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from core.errors import LlmtuiError
from core.init.resolve import Resolver
from core.init.weights import load_initial_weights
from core.model.gpt import GPT
from core.recipe.file import load
from core.recipe.schema import Recipe
from core.storage.workspace import Workspace
from core.tokenize.encodings import byte_by_character
from core.tokenize.vocabulary import Vocabulary
from tests.core.generating import generate_ids, settings

BYTES = [bytes([byte]) for byte in range(256)]


def gpt2_like(size: int) -> Vocabulary:
    """A vocabulary of `size` arbitrary tokens with the name gpt2."""
    return Vocabulary("gpt2", "", [*BYTES, *(f"<{n}>".encode() for n in range(size - 257))], kind="pairs")


VOCABULARY = gpt2_like(300)
SHAPE = msgspec.structs.replace(load(preset="gpt2").model, n_layer=2, n_head=2, n_embd=16, block_size=8)


def load_model(folder: Path | str, workspace: Workspace, vocabulary: Vocabulary = VOCABULARY, **fields: Any) -> GPT:
    """A model of SHAPE with other fields and the weights in `folder`."""
    shape = msgspec.structs.replace(SHAPE, init=str(folder), **fields)
    torch.manual_seed(5)
    model = GPT(shape, vocabulary.size).eval()
    for _ in load_initial_weights(shape, model, vocabulary, workspace):
        pass
    return model


def load_error(folder: Path | str, workspace: Workspace, **more: Any) -> str:
    """The message with which these weights are refused."""
    with pytest.raises(LlmtuiError) as caught:
        load_model(folder, workspace, **more)
    return caught.value.sentence()


def assert_same_logits(model: GPT, theirs: Any, length: int = 8) -> None:
    """`model` has the logits of `theirs`, a model of transformers, and generates the same text by greedy decoding."""
    ids = torch.randint(model.vocab_size, (2, length), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.allclose(model(ids), theirs(ids).logits, atol=1e-4)
        prompt = ids[:1, : length // 2]
        text = theirs.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_length=length, do_sample=False, eos_token_id=None
        )
    greedy = settings(tokens=length // 2, temperature=0.0)
    assert generate_ids(model, prompt[0].tolist(), greedy) == text[0, length // 2 :].tolist()


def characters_of(vocabulary: Vocabulary) -> dict[str, int]:
    """Its entries as `transformers` writes them in vocab.json."""
    character = {byte: letter for letter, byte in byte_by_character().items()}
    return {"".join(character[byte] for byte in ranks): id_ for id_, ranks in enumerate(vocabulary.ranks)}


def load_resolved(**layers: Any) -> Recipe:
    """`core.recipe.file.load` with initial weights resolved."""
    return load(**layers, init=Resolver(Workspace()))
