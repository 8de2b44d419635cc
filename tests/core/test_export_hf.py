"""Exports for transformers: the files, what is refused, and what an interruption leaves. Without transformers."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import jinja2
import pytest
import torch
from safetensors.torch import load_file

import core.export.hf
from core.errors import DiskError, LlmtuiError
from core.events import Progress
from core.export.chat_template import chat_template
from core.export.job import export_model
from core.export.request import ExportError
from core.model.gpt import GPT
from core.recipe.schema import Chat
from core.sample.conversation import Message, apply_chat_template
from tests.byte_models import TEMPLATES
from tests.core.exporting import GPT2, MODERN, VOCABULARY, export, model_with_large_weights, request, save_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("run"), model_with_large_weights(MODERN))


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_with_everything_that_transformers_reads(checkpoint: Path, tmp_path: Path) -> None:
    to = tmp_path / "my models" / "ünïcode name"
    events = export(checkpoint, to, card="# A model\n")
    assert {"model.safetensors", "config.json", "generation_config.json", "README.md"} <= set(listing(to))
    assert (to / "README.md").read_text() == "# A model\n"
    done = [event for event in events if isinstance(event, Progress)][-1]
    assert done.done == done.total == sum(tensor.nbytes for tensor in load_file(to / "model.safetensors").values())
    config = json.loads((to / "config.json").read_text())
    assert config["architectures"] == ["ApertusForCausalLM"] and config["vocab_size"] == 257
    assert listing(tmp_path / "my models") == ["ünïcode name"]


def test_large_weights_are_several_files(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    export(checkpoint, whole)
    monkeypatch.setattr(core.export.hf, "MAX_SHARD_BYTES", 40_000)
    export(checkpoint, parts)
    files = sorted(parts.glob("model-*.safetensors"))
    assert len(files) > 1 and not (parts / "model.safetensors").exists()
    index = json.loads((parts / "model.safetensors.index.json").read_text())
    found: dict[str, torch.Tensor] = {}
    for file in files:
        tensors = load_file(file)
        assert {name for name, place in index["weight_map"].items() if place == file.name} == set(tensors)
        found |= tensors
    expected = load_file(whole / "model.safetensors")
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


def test_weights_in_16_bits_are_the_rounded_ones(checkpoint: Path, tmp_path: Path) -> None:
    export(checkpoint, tmp_path / "32")
    export(checkpoint, tmp_path / "16", dtype="bfloat16")
    full, half = (load_file(tmp_path / name / "model.safetensors") for name in ("32", "16"))
    assert all(torch.equal(half[name], full[name].bfloat16()) for name in full)
    assert json.loads((tmp_path / "16" / "config.json").read_text())["dtype"] == "bfloat16"


def test_numbers_that_do_not_fit_the_type_are_refused(tmp_path: Path) -> None:
    model = model_with_large_weights(MODERN)
    with torch.no_grad():
        block: Any = model.h[1]
        block.mlp.c_fc.weight[0, 0] = 1e5  # float16 ends at 65,504
    checkpoint = save_checkpoint(tmp_path, model)
    with pytest.raises(ExportError, match=r"h\.1\.mlp\.c_fc\.weight has numbers that float16 cannot hold"):
        export(checkpoint, tmp_path / "out", dtype="float16")
    assert listing(tmp_path) == ["step-00000007"]


@pytest.mark.parametrize("inside", ["file", ".hidden"])
def test_a_folder_with_something_in_it_is_refused_and_kept(checkpoint: Path, tmp_path: Path, inside: str) -> None:
    (tmp_path / inside).write_text("mine")
    with pytest.raises(ExportError, match="the folder is not empty"):
        export(checkpoint, tmp_path)
    assert listing(tmp_path) == [inside]
    with pytest.raises(ExportError, match="there is a file of that name"):
        export(checkpoint, tmp_path / inside)


def test_an_empty_folder_is_filled(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    export(checkpoint, tmp_path / "empty")
    assert (tmp_path / "empty" / "config.json").is_file()


def test_formats_and_types_that_do_not_exist_are_named(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="the format hf has no weights in 'int3'"):
        export(checkpoint, tmp_path / "out", dtype="int3")


def test_a_full_disk_leaves_nothing(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(core.export.hf, "write_tensors", full)
    with pytest.raises(DiskError, match="no space left") as caught:
        export(checkpoint, tmp_path / "out")
    assert "another folder" in caught.value.todo and listing(tmp_path) == []


def test_what_a_killed_export_left_is_deleted_by_the_next(checkpoint: Path, tmp_path: Path) -> None:
    dead, alive = tmp_path / ".out.999999999.tmp", tmp_path / f".out.{os.getppid()}.tmp"
    for folder in (dead, alive):
        folder.mkdir()
    export(checkpoint, tmp_path / "out")
    assert listing(tmp_path) == [alive.name, "out"]


def test_a_checkpoint_that_is_deleted_meanwhile_is_exported_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core.export.hf, "MAX_SHARD_BYTES", 40_000)  # an event after each of several files
    checkpoint = save_checkpoint(tmp_path, model_with_large_weights(MODERN))
    export(checkpoint, tmp_path / "before")
    events = export_model(request(checkpoint, tmp_path / "after"))
    next(events)  # the weights are open
    for file in checkpoint.iterdir():
        file.unlink()
    checkpoint.rmdir()
    list(events)
    before, after = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("before", "after")
    )
    assert len(before) > 8 and before == after
    with pytest.raises(ExportError, match="deleted or replaced"):
        export(checkpoint, tmp_path / "later")


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path, model_with_large_weights(MODERN))
    file = checkpoint / "model.safetensors"
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(LlmtuiError, match=r"model\.safetensors"):
        export(checkpoint, tmp_path / "out")
    assert listing(tmp_path) == ["step-00000007"]


def test_a_vocabulary_of_another_size_is_refused(tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path, GPT(MODERN, VOCABULARY.size + 1))
    with pytest.raises(ExportError, match=r"model\.json says 258 entries, vocabulary\.json has 257"):
        export(checkpoint, tmp_path / "out")
    assert listing(tmp_path) == ["step-00000007"]


@pytest.mark.parametrize(
    "chat",
    [
        Chat(),
        TEMPLATES,
        Chat(system="<<{text}>>\n", user='Q: "{text}" \\ ', assistant="  {text}<end>\n"),
        Chat(user="{text} ", assistant=" {text}"),
    ],
)
def test_the_chat_template_makes_the_prompts_of_llmtui(chat: Chat) -> None:
    template = jinja2.Environment().from_string(chat_template(chat))
    talk = [
        Message(role="system", text="be {brief}"),
        Message(role="user", text=" 'one' {{two}}\n"),
        Message(role="assistant", text="é"),
        Message(role="user", text="three"),
    ]
    for length in (2, 4):
        messages = [{"role": message.role, "content": message.text} for message in talk[:length]]
        expected = apply_chat_template(talk[:length], chat).prompt
        assert template.render(messages=messages, add_generation_prompt=True) == expected


def test_gpt2_says_which_biases_are_not_its_own(tmp_path: Path) -> None:
    export(save_checkpoint(tmp_path, model_with_large_weights(GPT2)), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["llmtui"] == {"bias": True, "qkv_bias": None}
