"""The inference process answers: it streams, takes turns, cancels within a token, and survives whatever is asked."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.recipe.sampling import Sampling
from core.recipe.schema import Preprocess
from core.sample.protocol import (
    MAX_LINE_BYTES,
    BeamSearch,
    Cancel,
    Finished,
    Generate,
    InspectPrompt,
    Score,
    ScoreResult,
    TextEnded,
)
from core.storage.workspace import Workspace
from tests.core.inference_process import END, Child, endless, loaded, refused, save, serving, text


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """One process for all tests here: none of them may break it."""
    with serving(Workspace(tmp_path_factory.mktemp("home")).prepare()) as child:
        yield child


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("run") / "step-00000007")


def test_it_streams_whole_characters_and_repeats_itself_for_a_seed(child: Child, checkpoint: Path) -> None:
    first = child.ask(1, checkpoint, "ab", Sampling(tokens=30, seed=5))
    said = loaded(first)
    assert (said.step, said.prompt_tokens, said.checkpoint) == (7, 2, str(checkpoint))
    assert said.threads >= 1
    last, ended = first[-1], first[-2]
    assert isinstance(last, Finished)
    assert isinstance(ended, TextEnded)
    assert ended.reason in ("length", "end")
    assert ended.tokens == last.tokens <= 30
    assert len(first) > 3
    assert text(child.ask(2, checkpoint, "ab", Sampling(tokens=30, seed=5))) == text(first) != ""


def test_requests_take_turns_and_a_cancel_ends_one_of_them(child: Child, checkpoint: Path) -> None:
    for number in (1, 2):
        child.say(endless(number, checkpoint))
    assert text(child.ask(3, checkpoint, "b", Sampling(tokens=20, logit_bias={END: -1000})))
    assert refused(child.ask(2, checkpoint)).what == "a request with this id is being answered"
    for number in (1, 2):
        child.say(Cancel(id=number))
        last = child.answer(number)[-1]
        assert isinstance(last, Finished)
        assert last.cancelled
    child.say(Cancel(id=1))  # of what has ended, and of what never was
    child.say(Cancel(id=77))
    loaded(child.ask(4, checkpoint))


def test_an_interrupt_from_the_keyboard_is_for_whoever_asks_to_decide(child: Child, checkpoint: Path) -> None:
    child.say(endless(1, checkpoint))
    child.process.send_signal(signal.SIGINT)
    child.say(Cancel(id=1))
    last = child.answer(1)[-1]
    assert isinstance(last, Finished)
    assert last.cancelled


def test_a_cancel_is_heard_while_the_prompt_is_read(child: Child, checkpoint: Path) -> None:
    child.say(Generate(id=1, checkpoint=str(checkpoint), prompt="long " * 2_000_000))
    child.say(Cancel(id=1))
    (last,) = child.answer(1)
    assert isinstance(last, Finished)
    assert last.cancelled


def test_a_prompt_of_ten_megabytes_is_counted_and_its_end_read(child: Child, checkpoint: Path) -> None:
    said = loaded(child.ask(1, checkpoint, "long " * 2_000_000 + "x" * 16, Sampling(tokens=8, seed=3)))
    assert (said.prompt_tokens, said.dropped_tokens) == (10_000_016, 10_000_000)
    child.say(Generate(id=2, checkpoint=str(checkpoint), prompt="long " * 2_000_000))
    child.say(Generate(id=3, checkpoint=str(checkpoint), prompt="b", sampling=Sampling(tokens=1)))
    assert [child.next().id for _ in range(2)] == [3, 3]  # a short one need not wait for it
    child.answer(2)


def test_only_what_fits_the_context_is_seen_of_a_prompt_and_an_empty_one_is_fine(
    child: Child, checkpoint: Path
) -> None:
    long, short = "y" * 4 + "x" * 16, "x" * 16
    said = child.ask(1, checkpoint, long, Sampling(tokens=8))
    assert (loaded(said).prompt_tokens, loaded(said).dropped_tokens) == (20, 4)
    assert text(said) == text(child.ask(2, checkpoint, short, Sampling(tokens=8)))
    assert loaded(child.ask(3, checkpoint, "")).prompt_tokens == 1  # the mark behind which a text begins


def test_a_text_costs_the_same_however_its_lines_end_and_its_letters_are_spelled(
    child: Child, checkpoint: Path
) -> None:
    costs = []
    for number, written in enumerate(("é b\nc d\n", "é b\r\nc d\r\n", "e\u0301 b \nc d\r", "\ufeffé b\nc d\n")):
        child.say(Score(id=number, checkpoint=str(checkpoint), cleaning=Preprocess().steps, text=written))
        said = child.answer(number)
        costs.append(next((reply.nats, reply.bytes) for reply in said if isinstance(reply, ScoreResult)))
        steps = [(), ("control_characters",), ("unicode_nfc", "control_characters", "trailing_space")]
        assert loaded(said).changed_by == (*steps, ("control_characters",))[number]
    assert costs == [costs[0]] * 4


def test_a_prompt_is_read_as_the_training_text_was_cleaned(child: Child, checkpoint: Path) -> None:
    where, sampling = str(checkpoint), Sampling(tokens=5)
    cleaning = ("control_characters", "trailing_space", "lower_case", "boilerplate")
    plain = text(child.ask(1, checkpoint, "a\nb ", sampling))
    child.say(Generate(id=2, checkpoint=where, cleaning=cleaning, prompt="A\r\nB ", sampling=sampling))
    said = child.answer(2)
    assert (text(said), loaded(said).prompt_tokens) == (plain, 4)  # the space at its end stays
    assert loaded(said).changed_by == ("control_characters", "lower_case")
    for request in (
        BeamSearch(id=3, checkpoint=where, cleaning=cleaning, prompt="A", sampling=sampling),
        InspectPrompt(id=3, checkpoint=where, cleaning=cleaning, prompt="A"),
    ):
        child.say(request)
        assert loaded(child.answer(3)).changed_by == ("lower_case",)
    child.say(Generate(id=4, checkpoint=where, cleaning=cleaning, prompt="Read more\n", sampling=sampling))
    assert loaded(child.answer(4)).prompt_tokens == 10


def test_settings_at_their_edges_are_answers(child: Child, checkpoint: Path) -> None:
    greedy = text(child.ask(1, checkpoint, "a", Sampling(tokens=5, temperature=0)))
    assert greedy == text(child.ask(2, checkpoint, "a", Sampling(tokens=5, top_k=1, seed=9)))
    everything = Sampling(tokens=5, top_k=0)
    beyond = Sampling(tokens=5, top_k=10**9)
    assert text(child.ask(3, checkpoint, "a", everything)) == text(child.ask(4, checkpoint, "a", beyond))
    never = child.ask(5, checkpoint, "a", Sampling(tokens=40, stop=("never to be met",), logit_bias={END: -1000}))
    ended = never[-2]
    assert isinstance(ended, TextEnded)
    assert (ended.reason, ended.tokens) == ("length", 40)


def test_tokens_that_the_vocabulary_does_not_have_are_refused(child: Child, checkpoint: Path) -> None:
    for number, sampling in enumerate((Sampling(logit_bias={257: 1.0}), Sampling(stop_tokens=(257,)))):
        said = refused(child.ask(number, checkpoint, "a", sampling))
        assert (said.what, said.todo) == ("there is no token 257", "this vocabulary has the ids 0 to 256")


def test_a_model_whose_output_is_no_number_is_refused(child: Child, checkpoint: Path, tmp_path: Path) -> None:
    broken = save(tmp_path / "step-00000001")
    weights = load_file(broken / "model.safetensors")
    weights["wte.weight"] = torch.full_like(weights["wte.weight"], torch.nan)
    save_file(weights, broken / "model.safetensors")
    assert "not finite" in refused(child.ask(1, broken)).what
    loaded(child.ask(2, checkpoint))


GOOD = b'{"type":"generate","id":%d,"checkpoint":"x","prompt":"a"%s}'


@pytest.mark.parametrize(
    ("line", "number", "what"),
    [
        (b"no json", 0, "this is no request"),
        (b"", 0, "the line is empty"),
        (b" \t", 0, "the line is empty"),
        (b"\x00\x01\x02", 0, "this is no request"),
        (b"null", 0, "this is no request"),
        (b"[" * 100_000, 0, "this is no request"),
        (b'{"type":"generate","id":2}', 2, "checkpoint"),
        (b'{"type":"sing","id":3}', 3, "sing"),
        (b'{"type":"generate","id":4,"checkpoint":"x","prompt":"torn', 4, "this is no request"),
        (b'{"type":"generate","id":5,"checkpoint":"x","prompt":"\xff\xfe"}', 5, "utf-8"),
        (b'{"type":"generate","id":6,"checkpoint":"x","prompt":"\\ud800"}', 6, "truncated"),
        (b'{"type":"generate","id":"seven","checkpoint":"x","prompt":"a"}', 0, "int"),
        (b'{"type":"generate","prompt":"\\"id\\":9","checkpoint":7,"id":8}', 8, "str"),
        (GOOD % (9, b',"wishes":1'), 9, "unknown field"),
        (GOOD % (10, b',"texts":0'), 10, ">= 1"),
        (GOOD % (11, b',"texts":65'), 11, "<= 64"),
        (GOOD % (12, b',"sampling":{"temperature":-1}'), 12, ">= 0"),
        (GOOD % (13, b',"sampling":{"temperature":NaN}'), 13, "malformed"),
        (GOOD % (14, b',"sampling":{"temperature":1e999}'), 14, "out of range"),
        (GOOD % (15, b',"sampling":{"temperature":"hot"}'), 15, "float"),
        (GOOD % (16, b',"sampling":{"tokens":-5}'), 16, ">= 1"),
        (GOOD % (17, b',"sampling":{"seed":-5}'), 17, ">= 0"),
        (GOOD % (18, b',"sampling":{"top_p":0}'), 18, "> 0"),
        (GOOD % (19, b',"sampling":{"stop":[""]}'), 19, ">= 1"),
        (GOOD % (20, b',"sampling":{"logit_bias":{"x":1}}'), 20, "int"),
        (GOOD % (21, b',"precision":"float8"'), 21, "float8"),
        (b'{"type":"cancel"}', 0, "id"),
    ],
)
def test_a_line_that_is_no_request_is_refused_by_its_id(child: Child, line: bytes, number: int, what: str) -> None:
    child.say(line)
    said = refused(child.answer())
    assert said.id == number
    assert what in said.what.lower()


def test_a_line_of_a_hundred_megabytes_is_refused_and_not_held(child: Child, checkpoint: Path) -> None:
    loaded(child.ask(4, checkpoint))  # with all that is imported for it
    before = child.memory()
    child.say(b'{"type":"generate","id":5,"checkpoint":"x","prompt":"' + b"a" * 100_000_000 + b'"}')
    said = refused(child.answer())
    assert (said.id, said.what) == (5, f"the request is longer than {MAX_LINE_BYTES / 2**20:.0f} MiB")
    loaded(child.ask(6, checkpoint))
    assert child.memory() < before + MAX_LINE_BYTES


def test_no_more_are_answered_at_once_than_fit(child: Child, checkpoint: Path) -> None:
    for number in range(70):
        child.say(endless(number, checkpoint))
    assert "requests are being answered" in refused(child.answer(69)).what
    for number in range(70):
        child.say(Cancel(id=number))
    loaded(child.ask(71, checkpoint))
