"""llama.cpp computes the logits of exported models, and has the tokens of exported vocabularies."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.export.gguf_vocabulary import gguf_vocabulary
from core.tokenize import bpe
from core.tokenize.encodings import ENCODINGS
from core.tokenize.vocabulary import END_OF_TEXT, Vocabulary
from tests.core import generating
from tests.core.exporting import GPT2, MODERN, VOCABULARY, export, model_with_large_weights, save_checkpoint
from tests.core.vocabularies import TRICKY, vocabularies_of_each_kind

pytestmark = pytest.mark.interop
FORMS = {
    "gpt2": GPT2,
    "gpt2-untied": msgspec.structs.replace(GPT2, tie_embeddings=False, qkv_bias=False),
    "apertus": MODERN,
    "apertus-grouped": msgspec.structs.replace(MODERN, n_kv_head=2, tie_embeddings=True, pad_vocabulary_multiple=64),
    "qwen3": msgspec.structs.replace(MODERN, activation="swiglu"),
    "qwen3-grouped": msgspec.structs.replace(MODERN, activation="swiglu", n_kv_head=1, tie_embeddings=True),
}
FLOAT32 = 0
"""`GGML_TYPE_F32`, for the KV cache."""


def load(folder: Path, **options: Any) -> Any:
    llama_cpp = pytest.importorskip("llama_cpp")
    (file,) = folder.iterdir()
    return llama_cpp.Llama(str(file), verbose=False, n_threads=1, type_k=FLOAT32, type_v=FLOAT32, **options)


def logits(llama: Any, ids: Sequence[int]) -> np.ndarray[Any, Any]:
    """(tokens, vocabulary)"""
    llama.reset()
    llama.eval(ids)
    return np.array(llama.scores[: len(ids)])


@pytest.mark.parametrize("form", FORMS)
def test_logits_and_greedy_ids_are_ours(tmp_path: Path, form: str) -> None:
    model = model_with_large_weights(FORMS[form])
    export(save_checkpoint(tmp_path, model), tmp_path / "out", "gguf")
    llama = load(tmp_path / "out", n_ctx=16, logits_all=True)
    ids = VOCABULARY.encode("Hi é")
    with torch.inference_mode():
        ours = model(torch.tensor([ids]))[0].numpy()
    theirs = logits(llama, ids)
    # its GELU is a table in float16
    assert theirs.shape == ours.shape and np.abs(ours - theirs).max() < (1e-2 if "gpt2" in form else 1e-4)
    llama.reset()
    greedy = [token for token, _ in zip(llama.generate(ids, temp=0.0), range(8), strict=False)]
    assert greedy == generating.generate_ids(model, ids, generating.settings(tokens=8, temperature=0.0))


@pytest.mark.parametrize(("dtype", "error"), [("f16", 5e-3), ("bf16", 3e-2), ("q8_0", 5e-2)])
@pytest.mark.parametrize("form", ["gpt2", "apertus", "qwen3"])
def test_rounded_weights_have_nearly_our_logits(tmp_path: Path, form: str, dtype: str, error: float) -> None:
    model = model_with_large_weights(FORMS[form])
    export(save_checkpoint(tmp_path, model), tmp_path / "out", "gguf", dtype=dtype)
    llama = load(tmp_path / "out", n_ctx=16, logits_all=True)
    ids = VOCABULARY.encode("Hi é, you")
    with torch.inference_mode():
        ours = model(torch.tensor([ids]))[0].numpy()
    difference = ours - logits(llama, ids)
    assert difference.std() < error * ours.std()  # the largest is 0.18 of it in q8_0, which rounds activations, too


def test_activations_near_the_end_of_float16_are_exact(tmp_path: Path) -> None:
    model = model_with_large_weights(MODERN)
    with torch.no_grad():
        blocks: list[Any] = list(model.h)
        for block in blocks:
            block.mlp.c_fc.weight.mul_(20.0)
            block.mlp.c_proj.weight.mul_(1 / 400)
        largest = max(block.mlp.c_fc.weight.square().sum(1).max() for block in blocks)
    assert 32 * largest > 65504 > largest  # the other scale of xIELU would have been infinite
    export(save_checkpoint(tmp_path, model), tmp_path / "out", "gguf", dtype="f16")
    ids = VOCABULARY.encode("Hi é, you")
    with torch.inference_mode():
        ours = model(torch.tensor([ids]))[0].numpy()
    theirs = logits(load(tmp_path / "out", n_ctx=16, logits_all=True), ids)
    assert np.abs(ours - theirs).max() < 2e-2 * ours.std()


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Vocabulary], Any]]:
    """Returns llama.cpp's tokenizer of a vocabulary."""

    def make(vocabulary: Vocabulary) -> Any:
        folder = tmp_path_factory.mktemp("tokenizer")
        checkpoint = save_checkpoint(folder, model_with_large_weights(MODERN, vocabulary), vocabulary)
        export(checkpoint, folder / "out", "gguf")
        return load(folder / "out", vocab_only=True)

    yield make


@pytest.fixture(scope="module")
def exact(tokenizers: Callable[[Vocabulary], Any]) -> list[tuple[Vocabulary, Any]]:
    """Vocabularies that llama.cpp has exactly."""
    found = vocabularies_of_each_kind()
    return [(found[name], tokenizers(found[name])) for name in ("p50k_edit", "characters", "bytes", "bpe")]


def encode(llama: Any, text: str) -> list[int]:
    return list(llama.tokenize(text.encode(), add_bos=False, special=False))


@settings(max_examples=400, deadline=None)
@given(text=TRICKY.filter(lambda text: END_OF_TEXT not in text))
def test_any_text_has_the_same_ids(exact: list[tuple[Vocabulary, Any]], text: str) -> None:
    for vocabulary, llama in exact:
        ids = vocabulary.encode(text)
        assert encode(llama, text) == ids, vocabulary.name
        assert llama.detokenize(ids) == text.encode()


SINGLE = "abXsT019 .,-!'\t\n\r\v\f/éİß\u0301\u20df\u200d\u200c\u00a0\u3000\u0085\u2028\ufeff²½Ⅷ٣中한"
PIECES = st.sampled_from([*SINGLE, "\r\n", "\n \n", "  ", "'LL", "'ſ", "कि", "👩\u200d💻", "❤\ufe0f"])


@settings(max_examples=500, deadline=None)
@given(pieces=st.lists(PIECES | st.characters(exclude_categories=["Cs", "Cn", "Co"]), max_size=14))
def test_any_text_is_split_as_by_our_pattern(every_merge: tuple[Vocabulary, Any], pieces: list[str]) -> None:
    vocabulary, llama = every_merge
    assert encode(llama, "".join(pieces)) == vocabulary.encode("".join(pieces))


@pytest.fixture(scope="module")
def every_merge(tokenizers: Callable[[Vocabulary], Any]) -> tuple[Vocabulary, Any]:
    """Of which most pairs of pieces are entries, so that a word that ends elsewhere has other ids."""
    rng = random.Random(0)
    pieces = [chr(code) for code in range(32, 0x3000) if unicodedata.category(chr(code))[0] != "C"]
    texts = ["".join(rng.choices([*pieces[:400], *SINGLE, "कि", "'s"], k=3)) for _ in range(40_000)]
    ranks = bpe.train_bpe(texts, 20_000, r"[\s\S]{1,3}").ranks
    vocabulary = Vocabulary("bpe", bpe.PATTERN, ranks)
    return vocabulary, tokenizers(vocabulary)


def test_nothing_is_added_and_the_mark_ends_a_text(exact: list[tuple[Vocabulary, Any]]) -> None:
    for vocabulary, llama in exact:
        assert llama.tokenize(b"the", add_bos=True, special=True) == vocabulary.encode("the")
        assert llama.tokenize(f"the{END_OF_TEXT}".encode(), special=True)[-1] == vocabulary.end_of_text
        assert llama.token_eos() == vocabulary.end_of_text


@settings(max_examples=200, deadline=None)
@given(
    words=st.lists(
        st.sampled_from(["word", "  two", "x = 1", "é", "don't", "WE'LL", "(a)", "42", "/y", ".", "😀", "日本"]),
        max_size=40,
    ),
    ends=st.lists(st.sampled_from(["\n", "\r\n", " ", "\n\n", "\n ", "\t"]), min_size=40, max_size=40),
)
def test_text_without_what_a_note_names_has_the_same_ids(
    nearly: list[tuple[Vocabulary, Any]], words: list[str], ends: list[str]
) -> None:
    text = "".join(f"{word}{end}" for word, end in zip(words, ends, strict=False)) + "end"
    for vocabulary, llama in nearly:
        assert encode(llama, text) == vocabulary.encode(text), vocabulary.name


@pytest.fixture(scope="module")
def nearly(tokenizers: Callable[[Vocabulary], Any]) -> list[tuple[Vocabulary, Any]]:
    """Vocabularies for which the nearest pre-tokenizer is named."""
    found = vocabularies_of_each_kind()
    older = [Vocabulary("older", pattern, found["bpe"].ranks) for pattern in bpe.PATTERNS[1:]]
    return [(each, tokenizers(each)) for each in (found["cl100k_base"], *older)]


@pytest.mark.parametrize(
    ("pattern", "entries", "text"),
    [
        (bpe.MARKS_PATTERN, ["34", "23"], "1234"),  # ours: 12, 34; llama-bpe: 123, 4
        (bpe.MARKS_PATTERN, ["12", "कि"], "12"),  # qwen35: 1, 2
        (ENCODINGS["cl100k_base"].pattern, ["\n "], "x\n "),
        (ENCODINGS["o200k_base"].pattern, ["é", "À", "éÀ"], "éÀ"),
    ],
    ids=["long-number", "number-beside-marks", "line-break-at-the-end", "beyond-ascii"],
)
def test_what_a_note_names_has_other_ids(
    tokenizers: Callable[[Vocabulary], Any], pattern: str, entries: list[str], text: str
) -> None:
    ranks = [bytes([byte]) for byte in range(256)]
    vocabulary = Vocabulary("few merges", pattern, [*ranks, *(entry.encode() for entry in entries)])
    assert gguf_vocabulary(vocabulary).differs
    assert encode(tokenizers(vocabulary), text) != vocabulary.encode(text)
