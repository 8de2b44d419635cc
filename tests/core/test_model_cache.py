"""Loading models in the inference process: newest checkpoint, cache of two, unloading when idle."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.model.gpt import GPT
from core.recipe.sampling import Sampling
from core.recipe.schema import Model
from core.sample.models import ModelMemoryError, ensure_memory
from core.sample.protocol import Cancel, Finished, Generate, Loaded, TextDelta
from core.storage.workspace import Workspace
from core.tokenize.bpe import train_bpe
from tests.core.inference_process import END, Child, endless, loaded, refused, save, saved, serving, text
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """One process for all tests of this module."""
    with serving(Workspace(tmp_path_factory.mktemp("home")).prepare()) as child:
        yield child


GREEDY = Sampling(tokens=12, temperature=0, logit_bias={END: -1000})


def test_each_request_uses_the_newest_checkpoint_of_a_directory(child: Child, tmp_path: Path) -> None:
    run = tmp_path / "checkpoints"
    run.mkdir()
    assert refused(child.generate(1, run)).what == "there is no checkpoint yet"
    saved(run, 10, seed=1)
    assert loaded(child.generate(2, run)).step == 10
    newer = saved(run, 20, seed=2)
    replies = child.generate(3, run, "a", GREEDY)
    assert (loaded(replies).step, loaded(replies).checkpoint, loaded(replies).passed_over) == (20, str(newer), ())
    shutil.rmtree(newer)
    assert loaded(child.generate(4, run)).step == 10
    shutil.rmtree(run)
    assert "has been deleted" in refused(child.generate(5, run)).what


def test_damaged_checkpoints_are_skipped_and_reported(child: Child, tmp_path: Path) -> None:
    run = tmp_path / "checkpoints"
    for step in (10, 20, 30, 40, 50):
        saved(run, step)
    weights = run / "step-00000050" / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    (run / "step-00000040" / "model.safetensors").write_bytes(b"torn")
    (run / "step-00000030" / "vocabulary.json").unlink()
    (run / "step-00000020" / "model.safetensors").unlink()
    for number in (1, 2):  # damaged checkpoints are not read again, and still reported
        reply = loaded(child.generate(number, run))
        assert reply.step == 10
        assert [words.partition(":")[0] for words in reply.passed_over] == [f"step-000000{n}" for n in (50, 40, 30, 20)]
        assert "model.safetensors has changed since it was written" in reply.passed_over[0]
        assert "bytes instead of" in reply.passed_over[1]
        assert "vocabulary.json is missing" in reply.passed_over[2]
    assert "has changed" in refused(child.generate(3, weights.parent)).what  # the same checkpoint by its own name
    shutil.rmtree(run / "step-00000010")
    what = refused(child.generate(4, run)).what
    assert "none of the checkpoints can be read" in what
    assert "step-00000050" in what
    saved(run, 50)  # saved again by training
    assert loaded(child.generate(5, run)).passed_over == ()


def test_a_directory_with_a_name_that_is_not_utf8_is_ignored(child: Child, tmp_path: Path) -> None:
    run = tmp_path / "checkpoints"
    saved(run, 10)
    not_utf8 = Path(os.fsdecode(os.fsencode(run) + b"/step-\xff"))
    not_utf8.mkdir()
    (not_utf8 / "model.safetensors").write_bytes(b"torn")
    assert loaded(child.generate(1, run)).step == 10
    assert loaded(child.generate(2, run / "step-00000010")).step == 10


def test_more_texts_than_fit_the_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    gpt = GPT(Model(n_layer=2, n_head=2, n_embd=16, block_size=1024), 10)
    texts = 2 * 2 * 16 * 1024 * 4  # bytes of one text
    monkeypatch.setattr("core.sample.models.available_memory", lambda: 10 * texts)
    ensure_memory(gpt, 10)
    with pytest.raises(ModelMemoryError, match="11 texts at once"):
        ensure_memory(gpt, 11)


def test_a_vocabulary_size_that_differs_from_the_model_is_refused(child: Child, tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "step-00000010")
    train_bpe(iter(["abab baba abba"]), END + 4).save(checkpoint / "vocabulary.json")
    assert "entries" in refused(child.generate(1, checkpoint)).what


def test_a_checkpoint_deleted_during_a_request_serves_it_but_not_the_next_one(child: Child, tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "step-00000007")
    child.send(endless(1, checkpoint))
    while not isinstance(child.next(), TextDelta):
        pass
    (checkpoint / "model.safetensors").write_bytes(b"")  # truncated in place
    for _ in range(20):
        assert not isinstance(child.next(), Finished)
    shutil.rmtree(checkpoint)
    reply = refused(child.generate(2, checkpoint))
    assert (reply.what, reply.todo) == ("this checkpoint has been deleted", "choose another one")
    child.send(Cancel(id=1))
    loaded([*child.generate(3, save(tmp_path / "step-00000008"))])


def test_a_replaced_checkpoint_is_reloaded(child: Child, tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "step-00000007", seed=1)
    first = text(child.generate(1, checkpoint, "a", GREEDY))
    shutil.rmtree(checkpoint)
    save(checkpoint, seed=2)
    second = text(child.generate(2, checkpoint, "a", GREEDY))
    assert second != first
    assert second == text(child.generate(3, save(tmp_path / "other", seed=2), "a", GREEDY))


def test_a_third_model_does_not_change_the_replies_of_two_cached_ones(child: Child, tmp_path: Path) -> None:
    paths = [save(tmp_path / f"step-0000000{seed}", seed) for seed in (1, 2, 3)]
    alone = [text(child.generate(seed, path, "a", GREEDY)) for seed, path in enumerate(paths)]
    for number, path in enumerate(paths):
        child.send(Generate(id=number, checkpoint=str(path), prompt="a", sampling=GREEDY))
    replies = [child.next()]
    while sum(isinstance(reply, Finished) for reply in replies) < len(paths):
        replies.append(child.next())
    assert [text([reply for reply in replies if reply.id == number]) for number in range(3)] == alone


def test_a_model_larger_than_the_memory_is_refused_before_loading(child: Child, tmp_path: Path) -> None:
    huge = save(tmp_path / "step-00000007")
    os.truncate(huge / "model.safetensors", 2**40)  # takes no space on the disk
    reply = refused(child.generate(1, huge))
    assert re.fullmatch(r"it would take 1,048,640 MiB of memory, and [\d,]+ MiB are free", reply.what)
    assert "choose a smaller model" in reply.todo
    loaded(child.generate(2, save(tmp_path / "step-00000008")))


def test_cancel_works_while_a_model_is_loaded(child: Child, tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "step-00000007", width=1024)  # 50 MB
    child.send(endless(1, checkpoint))
    child.send(Cancel(id=1))
    (last,) = child.receive(1)
    assert isinstance(last, Finished)
    assert last.cancelled
    loaded(child.generate(2, checkpoint))


def test_an_os_error_is_a_reply_and_does_not_affect_the_next_request(child: Child, tmp_path: Path) -> None:
    assert refused(child.generate(1, Path("x" * 5000))).what == "file name too long"
    loaded(child.generate(2, save(tmp_path / "step-00000007")))


def test_idle_models_are_unloaded_and_reloaded_by_the_next_request(workspace: Workspace, tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "step-00000007", width=1024)  # 50 MB
    with serving(workspace, "--idle", "0.2") as child:
        first = child.generate(1, checkpoint, "a", GREEDY)
        loaded(first)
        child.send(endless(2, checkpoint))
        assert isinstance(child.next(), Loaded)
        full = child.memory()
        child.send(Cancel(id=2))
        child.receive(2)
        wait_for(lambda: child.memory() < full - 45 * 2**20, what="memory is given back")
        assert text(child.generate(3, checkpoint, "a", GREEDY)) == text(first)
