"""GGUF files, read by the library's own reader."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gguf
import msgspec
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from core.events import Note
from core.export.gguf_vocabulary import CONTROL, NORMAL, UNUSED, gguf_vocabulary
from core.export.request import ExportError
from core.export.xielu import UP_SCALE, XIELU
from core.model.gpt import GPT
from core.recipe.schema import Model
from core.tokenize import bpe
from core.tokenize.characters import character_vocabulary
from core.tokenize.encodings import ENCODINGS
from core.tokenize.vocabulary import END_OF_TEXT, Vocabulary
from tests.core.exporting import GPT2, MODERN, VOCABULARY, export, model_with_large_weights, save_checkpoint
from tests.core.vocabularies import TRAINING_TEXT

BYTES = tuple(bytes([byte]) for byte in range(256))
GROUPED = msgspec.structs.replace(MODERN, n_kv_head=2, tie_embeddings=True, pad_vocabulary_multiple=64)
SWIGLU = msgspec.structs.replace(MODERN, activation="swiglu")


@dataclass
class File:
    """What a GGUF file says."""

    fields: dict[str, Any]
    tensors: dict[str, Any]
    notes: list[str]


def written(tmp_path: Path, model: GPT, vocabulary: Vocabulary = VOCABULARY, dtype: str = "f32") -> File:
    tmp_path.mkdir(exist_ok=True)
    checkpoint = save_checkpoint(tmp_path, model, vocabulary)
    events = export(checkpoint, tmp_path / "out", "gguf", dtype=dtype)
    (file,) = (tmp_path / "out").iterdir()
    assert file.name == f"model-{dtype}.gguf"
    reader = gguf.GGUFReader(file)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    notes = [event.text for event in events if isinstance(event, Note)]
    return File(fields, {tensor.name: tensor for tensor in reader.tensors}, notes)


def expected(model: GPT, config: Model) -> dict[str, torch.Tensor]:
    """The tensors of llama.cpp, from ours."""
    ours = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    rows, head_size = VOCABULARY.size, config.n_embd // config.n_head
    theirs = {"token_embd.weight": ours["wte.weight"][:rows], "output_norm.weight": ours["ln_f.weight"]}
    if not config.tie_embeddings or config.activation == "relu2":
        theirs["output.weight"] = ours["lm_head.weight"][:rows]
    if config.positions == "learned":
        theirs |= {"position_embd.weight": ours["wpe.weight"], "output_norm.bias": ours["ln_f.bias"]}
    for layer in range(config.n_layer):
        block = {name.removeprefix(f"h.{layer}."): tensor for name, tensor in ours.items() if f"h.{layer}." in name}
        named = {"attn_norm": "ln_1", "attn_output": "attn.c_proj", "ffn_norm": "ln_2", "ffn_down": "mlp.c_proj"}
        if config.positions == "learned":
            named |= {"attn_qkv": "attn.c_attn", "ffn_up": "mlp.c_fc"}
            theirs |= {f"blk.{layer}.{name}.bias": block[f"{source}.bias"] for name, source in named.items()}
        else:
            kv = (config.n_kv_head or config.n_head) * head_size
            q, k, v = block["attn.c_attn.weight"].split((config.n_embd, kv, kv))
            one = torch.ones(head_size)
            parts = {"attn_q": q, "attn_k": k, "attn_v": v, "attn_q_norm": one, "attn_k_norm": one}
            parts["ffn_up"] = block["mlp.c_fc.weight"] / 8
            if config.activation == "swiglu":
                parts["ffn_gate"], parts["ffn_up"] = block["mlp.c_fc.weight"].chunk(2)
            theirs |= {f"blk.{layer}.{name}.weight": tensor for name, tensor in parts.items()}
        theirs |= {f"blk.{layer}.{name}.weight": block[f"{source}.weight"] for name, source in named.items()}
    return theirs


@pytest.mark.parametrize(
    ("config", "architecture"), [(GPT2, "gpt2"), (MODERN, "apertus"), (GROUPED, "apertus"), (SWIGLU, "qwen3")]
)
def test_the_tensors_are_ours_to_the_bit(tmp_path: Path, config: Model, architecture: str) -> None:
    model = model_with_large_weights(config)
    file = written(tmp_path, model)
    assert file.fields["general.architecture"] == architecture
    tensors = expected(model, config)
    assert file.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert np.array_equal(file.tensors[name].data, tensor.numpy()), name


def test_the_configuration_is_the_models(tmp_path: Path) -> None:
    fields = written(tmp_path, model_with_large_weights(GROUPED)).fields
    shape = {name.removeprefix("apertus."): value for name, value in fields.items() if name.startswith("apertus.")}
    assert shape.pop("attention.layer_norm_rms_epsilon") == pytest.approx(1e-6)
    assert fields["xielu.eps"] == pytest.approx([-1e-6] * 2)
    assert shape == {
        "block_count": 2,
        "context_length": 16,
        "embedding_length": 32,
        "feed_forward_length": 128,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.key_length": 8,
        "attention.value_length": 8,
        "rope.dimension_count": 8,
        "rope.freq_base": 10_000,
        "vocab_size": 257,
    }
    assert [fields[f"xielu.{name}"][1] for name in ("alpha_n", "alpha_p", "beta")] == [-16384.0, 64.0, 0.0]
    assert fields["general.name"] == "tiny-7" and fields["general.file_type"] == 0
    assert [fields[f"tokenizer.ggml.{mark}_token_id"] for mark in ("bos", "eos")] == [256, 256]
    assert fields["tokenizer.ggml.add_bos_token"] is False
    assert "message" in fields["tokenizer.chat_template"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_xielu_with_these_constants_is_relu_squared(dtype: torch.dtype) -> None:
    x = (torch.randn(100_000, generator=torch.Generator().manual_seed(1)) * 30).to(dtype)
    x[:3] = torch.tensor([0.0, 3e4, -3e4])
    alpha_n, alpha_p = (F.softplus(torch.tensor(XIELU[name], dtype=dtype)) for name in ("alpha_n", "alpha_p"))
    beta, eps = (torch.tensor(XIELU[name], dtype=dtype) for name in ("beta", "eps"))
    scaled = x * UP_SCALE
    above = alpha_p * scaled * scaled + beta * scaled
    below = (torch.expm1(torch.minimum(scaled, eps)) - scaled) * (beta + alpha_n) + beta * scaled
    if dtype == torch.float32:
        assert torch.equal(torch.where(scaled > 0, above, below), x.relu().square())
    else:  # rounded twice, as by the program that computes in bfloat16 at all: by the same powers of two
        assert torch.equal(torch.where(scaled > 0, above, below), (x.relu() / 8).square() * 64)


@pytest.mark.parametrize(
    ("dtype", "kind", "error"), [("f16", "F16", 2**-11), ("bf16", "BF16", 2**-8), ("q8_0", "Q8_0", 1 / 127)]
)
def test_matrices_are_rounded_and_vectors_are_not(tmp_path: Path, dtype: str, kind: str, error: float) -> None:
    model = model_with_large_weights(GPT2)
    file = written(tmp_path, model, dtype=dtype)
    for name, tensor in expected(model, GPT2).items():
        stored = file.tensors[name]
        matrix = tensor.dim() == 2 and name != "position_embd.weight"
        assert stored.tensor_type.name == (kind if matrix else "F32"), name
        values = gguf.dequantize(stored.data, stored.tensor_type)
        assert np.abs(values - tensor.numpy()).max() <= (error * tensor.abs().max().item() if matrix else 0)


def test_a_width_that_blocks_of_32_do_not_divide_stays_in_float16(tmp_path: Path) -> None:
    config = msgspec.structs.replace(MODERN, n_embd=48)
    file = written(tmp_path, model_with_large_weights(config), dtype="q8_0")
    kinds = {name: file.tensors[f"blk.0.{name}.weight"].tensor_type.name for name in ("ffn_up", "ffn_down")}
    assert kinds == {"ffn_up": "F16", "ffn_down": "Q8_0"}  # rows of 48 and of 192


def test_activations_beyond_float16_are_a_warning(tmp_path: Path) -> None:
    model = model_with_large_weights(MODERN)
    assert written(tmp_path / "a", model, dtype="f16").notes == []
    first, second = cast("tuple[Any, Any]", model.h)
    with torch.no_grad():
        second.mlp.c_fc.weight[5] = 20.0  # 32 inputs of at most sqrt(32) in norm: (20 · 32)² and more
    (note,) = written(tmp_path / "b", model, dtype="f16").notes
    assert "65,504" in note and "h.1.mlp" in note and "h.0" not in note
    assert written(tmp_path / "c", model, dtype="bf16").notes == []
    with torch.no_grad():
        first.attn.c_proj.weight[0, 0] = 1e5
    with pytest.raises(ExportError, match=r"h\.0\.attn\.c_proj\.weight has numbers that f16 cannot hold"):
        written(tmp_path / "d", model, dtype="f16")


def test_without_the_library_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = save_checkpoint(tmp_path, model_with_large_weights(MODERN))
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ExportError) as caught:
        export(checkpoint, tmp_path / "out", "gguf")
    assert "llmtui[export]" in caught.value.todo and not (tmp_path / "out").exists()


def test_the_vocabulary_is_inside(tmp_path: Path) -> None:
    vocabulary = bpe.train_bpe([TRAINING_TEXT[:20_000]], 300)
    file = written(tmp_path, model_with_large_weights(MODERN, vocabulary), vocabulary)
    inside = {name.removeprefix("tokenizer.ggml."): value for name, value in file.fields.items()}
    assert (inside["model"], inside["pre"]) == ("gpt2", "qwen35")
    assert inside["tokens"][32] == "Ġ" and inside["tokens"][299] == END_OF_TEXT
    assert inside["token_type"] == [NORMAL] * 299 + [CONTROL]
    left, right = inside["merges"][0].split(" ")
    assert left + right == inside["tokens"][256] and len(inside["merges"]) == 43
    assert not file.notes


def test_a_note_says_which_texts_differ_with_an_older_vocabulary(tmp_path: Path) -> None:
    vocabulary = bpe.train_bpe([TRAINING_TEXT[:20_000]], 300, bpe.MARKS_PATTERN)
    (note,) = written(tmp_path, model_with_large_weights(MODERN, vocabulary), vocabulary).notes
    assert "numbers of more than two digits" in note


def test_unused_ids_stay_where_they_are() -> None:
    vocabulary = Vocabulary("gaps", ENCODINGS["gpt2"].pattern, [*BYTES, b"", b"ab"], {END_OF_TEXT: 259})
    stored = gguf_vocabulary(vocabulary)
    assert stored.entries[256:] == ["<|unused_256|>", "ab", "<|unused_258|>", END_OF_TEXT]
    assert stored.types[256:] == [UNUSED, NORMAL, UNUSED, CONTROL]
    assert (stored.splitter, stored.merges, stored.differs) == ("gpt-2", ["a b"], "")


def test_entries_that_no_merge_makes_are_told() -> None:
    stored = gguf_vocabulary(Vocabulary("gaps", ENCODINGS["gpt2"].pattern, [*BYTES, b"abc"]))
    assert stored.differs == "1 entries that no merge makes"


def test_bpe_without_merges_is_bytes() -> None:
    # llama.cpp does not load BPE without merges; a vocabulary of 257 entries has none
    found = gguf_vocabulary(Vocabulary("bpe", bpe.PATTERN, BYTES))
    assert (found.model, found.merges, found.differs) == ("rwkv", [], "")


def test_a_vocabulary_of_ones_own_has_the_splitter_with_its_pattern() -> None:
    stored = gguf_vocabulary(Vocabulary("bpe", bpe.PATTERN, [*BYTES, b"ab"]))
    assert (stored.splitter, stored.differs) == ("qwen35", "")


def test_words_with_marks_have_another_splitter_in_older_vocabularies() -> None:
    plain, hindi = (Vocabulary("bpe", bpe.MARKS_PATTERN, [*BYTES, word.encode()]) for word in ("ab", "का"))
    assert [gguf_vocabulary(each).splitter for each in (plain, hindi)] == ["llama-bpe", "qwen35"]


def test_characters_are_entries_in_bytes() -> None:
    stored = gguf_vocabulary(character_vocabulary(["\n", "\\", "a", "é"]))
    assert stored.model == "rwkv" and stored.differs == ""
    assert stored.entries[:5] == ["\\x0a", "\\x5c", "a", "\\xc3\\xa9", "\\x00"]
    assert len(set(stored.entries)) == len(stored.entries) == 4 + 253 + 1
