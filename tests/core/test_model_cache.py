"""The inference process and the models on the disk: the newest that can be read, two kept, none when nobody asks."""

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
    """One process for all tests here: none of them may break it."""
    with serving(Workspace(tmp_path_factory.mktemp("home")).prepare()) as child:
        yield child


GREEDY = Sampling(tokens=12, temperature=0, logit_bias={END: -1000})


def test_the_newest_checkpoint_of_a_directory_answers_each_time(child: Child, tmp_path: Path) -> None:
    run = tmp_path / "checkpoints"
    run.mkdir()
    assert refused(child.ask(1, run)).what == "there is no checkpoint yet"
    saved(run, 10, seed=1)
    assert loaded(child.ask(2, run)).step == 10
    newer = saved(run, 20, seed=2)
    said = child.ask(3, run, "a", GREEDY)
    assert (loaded(said).step, loaded(said).checkpoint, loaded(said).passed_over) == (20, str(newer), ())
    shutil.rmtree(newer)
    assert loaded(child.ask(4, run)).step == 10
    shutil.rmtree(run)
    assert "has been deleted" in refused(child.ask(5, run)).what


def test_damaged_checkpoints_are_passed_over_and_said(child: Child, tmp_path: Path) -> None:
    run = tmp_path / "checkpoints"
    for step in (10, 20, 30, 40, 50):
        saved(run, step)
    weights = run / "step-00000050" / "model.safetensors"
    flipped = bytearray(weights.read_bytes())
    flipped[-1] ^= 1
    weights.write_bytes(flipped)
    (run / "step-00000040" / "model.safetensors").write_bytes(b"torn")
    (run / "step-00000030" / "vocabulary.json").unlink()
    (run / "step-00000020" / "model.safetensors").unlink()
    for number in (1, 2):  # what was found damaged is not read again, and still said
        said = loaded(child.ask(number, run))
        assert said.step == 10
        assert [words.partition(":")[0] for words in said.passed_over] == [f"step-000000{n}" for n in (50, 40, 30, 20)]
        assert "model.safetensors has changed since it was written" in said.passed_over[0]
        assert "bytes instead of" in said.passed_over[1]
        assert "vocabulary.json is missing" in said.passed_over[2]
    assert "has changed" in refused(child.ask(3, weights.parent)).what  # the same one by its own name
    shutil.rmtree(run / "step-00000010")
    none = refused(child.ask(4, run))
    assert "none of the checkpoints can be read" in none.what
    assert "step-00000050" in none.what
    saved(run, 50)  # training came by here again
    assert loaded(child.ask(5, run)).passed_over == ()


def test_a_directory_whose_name_is_not_utf8_is_no_checkpoint(child: Child, tmp_path: Path) -> None:
    run = tmp_path / "checkpoints"
    saved(run, 10)
    odd = Path(os.fsdecode(os.fsencode(run) + b"/step-\xff"))
    odd.mkdir()
    (odd / "model.safetensors").write_bytes(b"torn")
    assert loaded(child.ask(1, run)).step == 10
    assert loaded(child.ask(2, run / "step-00000010")).step == 10


def test_more_texts_than_the_memory_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    gpt = GPT(Model(n_layer=2, n_head=2, n_embd=16, block_size=1024), 10)
    texts = 2 * 2 * 16 * 1024 * 4  # bytes of one
    monkeypatch.setattr("core.sample.models.available_memory", lambda: 10 * texts)
    ensure_memory(gpt, 10)
    with pytest.raises(ModelMemoryError, match="11 texts at once"):
        ensure_memory(gpt, 11)


def test_a_vocabulary_of_another_size_than_the_models_is_refused(child: Child, tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "step-00000010")
    train_bpe(iter(["abab baba abba"]), END + 4).save(checkpoint / "vocabulary.json")
    assert "entries" in refused(child.ask(1, checkpoint)).what


def test_a_checkpoint_deleted_at_work_goes_on_and_is_gone_for_the_next_request(child: Child, tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "step-00000007")
    child.say(endless(1, checkpoint))
    while not isinstance(child.next(), TextDelta):
        pass
    (checkpoint / "model.safetensors").write_bytes(b"")  # cut off where it lies, as a copy over it begins
    for _ in range(20):
        assert not isinstance(child.next(), Finished)
    shutil.rmtree(checkpoint)
    said = refused(child.ask(2, checkpoint))
    assert (said.what, said.todo) == ("this checkpoint has been deleted", "choose another one")
    child.say(Cancel(id=1))
    loaded([*child.ask(3, save(tmp_path / "step-00000008"))])


def test_a_checkpoint_that_is_replaced_is_loaded_anew(child: Child, tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "step-00000007", seed=1)
    first = text(child.ask(1, checkpoint, "a", GREEDY))
    shutil.rmtree(checkpoint)
    save(checkpoint, seed=2)
    second = text(child.ask(2, checkpoint, "a", GREEDY))
    assert second != first
    assert second == text(child.ask(3, save(tmp_path / "other", seed=2), "a", GREEDY))


def test_a_third_model_at_work_does_not_disturb_the_two_before_it(child: Child, tmp_path: Path) -> None:
    places = [save(tmp_path / f"step-0000000{seed}", seed) for seed in (1, 2, 3)]
    alone = [text(child.ask(seed, place, "a", GREEDY)) for seed, place in enumerate(places)]
    for number, place in enumerate(places):
        child.say(Generate(id=number, checkpoint=str(place), prompt="a", sampling=GREEDY))
    replies = [child.next()]
    while sum(isinstance(reply, Finished) for reply in replies) < len(places):
        replies.append(child.next())
    assert [text([reply for reply in replies if reply.id == number]) for number in range(3)] == alone


def test_a_model_beyond_the_memory_is_refused_before_it_is_read(child: Child, tmp_path: Path) -> None:
    huge = save(tmp_path / "step-00000007")
    os.truncate(huge / "model.safetensors", 2**40)  # takes no space on the disk
    said = refused(child.ask(1, huge))
    assert re.fullmatch(r"it would take 1,048,640 MiB of memory, and [\d,]+ MiB are free", said.what)
    assert "choose a smaller model" in said.todo
    loaded(child.ask(2, save(tmp_path / "step-00000008")))


def test_a_cancel_is_heard_while_a_model_is_loaded(child: Child, tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "step-00000007", width=1024)  # 50 MB
    child.say(endless(1, checkpoint))
    child.say(Cancel(id=1))
    (last,) = child.answer(1)
    assert isinstance(last, Finished)
    assert last.cancelled
    loaded(child.ask(2, checkpoint))


def test_an_error_of_the_system_is_an_answer_and_the_next_request_gets_its_own(child: Child, tmp_path: Path) -> None:
    assert refused(child.ask(1, Path("x" * 5000))).what == "file name too long"
    loaded(child.ask(2, save(tmp_path / "step-00000007")))


def test_memory_is_given_back_when_nobody_asks_and_the_next_request_loads_again(
    workspace: Workspace, tmp_path: Path
) -> None:
    checkpoint = save(tmp_path / "step-00000007", width=1024)  # 50 MB
    with serving(workspace, "--idle", "0.2") as child:
        first = child.ask(1, checkpoint, "a", GREEDY)
        loaded(first)
        child.say(endless(2, checkpoint))
        assert isinstance(child.next(), Loaded)
        full = child.memory()
        child.say(Cancel(id=2))
        child.answer(2)
        wait_for(lambda: child.memory() < full - 45 * 2**20, what="memory is given back")
        assert text(child.ask(3, checkpoint, "a", GREEDY)) == text(first)
