"""The inference process: streaming, interleaved requests, cancellation, invalid requests."""

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
    TextDelta,
    TextEnded,
)
from core.storage.workspace import Workspace
from tests.core.inference_process import END, Child, endless, loaded, refused, save, serving, text


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """One process for all tests of this module."""
    with serving(Workspace(tmp_path_factory.mktemp("home")).prepare()) as child:
        yield child


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("run") / "step-00000007")


def test_text_is_streamed_in_whole_characters_and_determined_by_the_seed(child: Child, checkpoint: Path) -> None:
    first = child.generate(1, checkpoint, "ab", Sampling(tokens=30, seed=5))
    reply = loaded(first)
    assert (reply.step, reply.prompt_tokens, reply.checkpoint) == (7, 2, str(checkpoint))
    assert reply.threads >= 1
    last, end = first[-1], first[-2]
    assert isinstance(last, Finished)
    assert isinstance(end, TextEnded)
    assert end.reason in ("length", "end")
    assert end.tokens == last.tokens <= 30
    assert len(first) > 3
    assert text(child.generate(2, checkpoint, "ab", Sampling(tokens=30, seed=5))) == text(first) != ""


def test_log_probabilities_come_with_the_text_that_their_tokens_complete(child: Child, checkpoint: Path) -> None:
    sampling = Sampling(tokens=30, seed=5, logit_bias={END: -1000})
    request = Generate(id=1, checkpoint=str(checkpoint), prompt="ab", sampling=sampling, texts=2, logprobs=True)
    child.send(request)
    deltas = [reply for reply in child.receive(1) if isinstance(reply, TextDelta)]
    for index in (0, 1):
        logprobs = [logprob for delta in deltas if delta.index == index for logprob in delta.logprobs]
        assert len(logprobs) == 30 and all(logprob < 0 for logprob in logprobs)


def test_requests_are_interleaved_and_cancelled_individually(child: Child, checkpoint: Path) -> None:
    for number in (1, 2):
        child.send(endless(number, checkpoint))
    assert text(child.generate(3, checkpoint, "b", Sampling(tokens=20, logit_bias={END: -1000})))
    assert refused(child.generate(2, checkpoint)).what == "a request with this id is being answered"
    for number in (1, 2):
        child.send(Cancel(id=number))
        last = child.receive(number)[-1]
        assert isinstance(last, Finished)
        assert last.cancelled
    child.send(Cancel(id=1))  # finished, and unknown
    child.send(Cancel(id=77))
    loaded(child.generate(4, checkpoint))


def test_sigint_is_left_to_the_client(child: Child, checkpoint: Path) -> None:
    child.send(endless(1, checkpoint))
    child.process.send_signal(signal.SIGINT)
    child.send(Cancel(id=1))
    last = child.receive(1)[-1]
    assert isinstance(last, Finished)
    assert last.cancelled


def test_cancel_works_while_the_prompt_is_processed(child: Child, checkpoint: Path) -> None:
    child.send(Generate(id=1, checkpoint=str(checkpoint), prompt="long " * 2_000_000))
    child.send(Cancel(id=1))
    (last,) = child.receive(1)
    assert isinstance(last, Finished)
    assert last.cancelled


def test_a_10_mb_prompt_is_counted_and_truncated_to_its_end(child: Child, checkpoint: Path) -> None:
    reply = loaded(child.generate(1, checkpoint, "long " * 2_000_000 + "x" * 16, Sampling(tokens=8, seed=3)))
    assert (reply.prompt_tokens, reply.dropped_tokens) == (10_000_016, 10_000_000)
    child.send(Generate(id=2, checkpoint=str(checkpoint), prompt="long " * 2_000_000))
    child.send(Generate(id=3, checkpoint=str(checkpoint), prompt="b", sampling=Sampling(tokens=1)))
    assert [child.next().id for _ in range(2)] == [3, 3]  # a short request does not wait for it
    child.receive(2)


def test_prompts_are_truncated_to_the_context_and_may_be_empty(child: Child, checkpoint: Path) -> None:
    long, short = "y" * 4 + "x" * 16, "x" * 16
    replies = child.generate(1, checkpoint, long, Sampling(tokens=8))
    assert (loaded(replies).prompt_tokens, loaded(replies).dropped_tokens) == (20, 4)
    assert text(replies) == text(child.generate(2, checkpoint, short, Sampling(tokens=8)))
    assert loaded(child.generate(3, checkpoint, "")).prompt_tokens == 1  # the end-of-text token before the text


def test_loss_does_not_depend_on_line_endings_and_unicode_normalization(child: Child, checkpoint: Path) -> None:
    losses = []
    for number, prompt in enumerate(("é b\nc d\n", "é b\r\nc d\r\n", "e\u0301 b \nc d\r", "\ufeffé b\nc d\n")):
        child.send(Score(id=number, checkpoint=str(checkpoint), cleaning=Preprocess().steps, text=prompt))
        replies = child.receive(number)
        losses.append(next((reply.nats, reply.bytes) for reply in replies if isinstance(reply, ScoreResult)))
        steps = [(), ("control_characters",), ("unicode_nfc", "control_characters", "trailing_space")]
        assert loaded(replies).changed_by == (*steps, ("control_characters",))[number]
    assert losses == [losses[0]] * 4


def test_prompts_are_cleaned_like_the_training_text(child: Child, checkpoint: Path) -> None:
    path, sampling = str(checkpoint), Sampling(tokens=5)
    cleaning = ("control_characters", "trailing_space", "lower_case", "boilerplate")
    plain = text(child.generate(1, checkpoint, "a\nb ", sampling))
    child.send(Generate(id=2, checkpoint=path, cleaning=cleaning, prompt="A\r\nB ", sampling=sampling))
    replies = child.receive(2)
    assert (text(replies), loaded(replies).prompt_tokens) == (plain, 4)  # a space at the end is kept
    assert loaded(replies).changed_by == ("control_characters", "lower_case")
    for request in (
        BeamSearch(id=3, checkpoint=path, cleaning=cleaning, prompt="A", sampling=sampling),
        InspectPrompt(id=3, checkpoint=path, cleaning=cleaning, prompt="A"),
    ):
        child.send(request)
        assert loaded(child.receive(3)).changed_by == ("lower_case",)
    child.send(Generate(id=4, checkpoint=path, cleaning=cleaning, prompt="Read more\n", sampling=sampling))
    assert loaded(child.receive(4)).prompt_tokens == 10


def test_extreme_sampling_settings_are_accepted(child: Child, checkpoint: Path) -> None:
    greedy = text(child.generate(1, checkpoint, "a", Sampling(tokens=5, temperature=0)))
    assert greedy == text(child.generate(2, checkpoint, "a", Sampling(tokens=5, top_k=1, seed=9)))
    everything = Sampling(tokens=5, top_k=0)
    beyond = Sampling(tokens=5, top_k=10**9)
    assert text(child.generate(3, checkpoint, "a", everything)) == text(child.generate(4, checkpoint, "a", beyond))
    replies = child.generate(
        5, checkpoint, "a", Sampling(tokens=40, stop=("never generated",), logit_bias={END: -1000})
    )
    end = replies[-2]
    assert isinstance(end, TextEnded)
    assert (end.reason, end.tokens) == ("length", 40)


def test_token_ids_outside_the_vocabulary_are_refused(child: Child, checkpoint: Path) -> None:
    for number, sampling in enumerate((Sampling(logit_bias={257: 1.0}), Sampling(stop_tokens=(257,)))):
        reply = refused(child.generate(number, checkpoint, "a", sampling))
        assert (reply.what, reply.todo) == ("there is no token 257", "this vocabulary has the ids 0 to 256")


def test_a_model_with_non_finite_logits_is_refused(child: Child, checkpoint: Path, tmp_path: Path) -> None:
    model_with_nan = save(tmp_path / "step-00000001")
    weights = load_file(model_with_nan / "model.safetensors")
    weights["wte.weight"] = torch.full_like(weights["wte.weight"], torch.nan)
    save_file(weights, model_with_nan / "model.safetensors")
    assert "not finite" in refused(child.generate(1, model_with_nan)).what
    loaded(child.generate(2, checkpoint))


VALID = b'{"type":"generate","id":%d,"checkpoint":"x","prompt":"a"%s}'


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
        (VALID % (9, b',"wishes":1'), 9, "unknown field"),
        (VALID % (10, b',"texts":0'), 10, ">= 1"),
        (VALID % (11, b',"texts":65'), 11, "<= 64"),
        (VALID % (12, b',"sampling":{"temperature":-1}'), 12, ">= 0"),
        (VALID % (13, b',"sampling":{"temperature":NaN}'), 13, "malformed"),
        (VALID % (14, b',"sampling":{"temperature":1e999}'), 14, "out of range"),
        (VALID % (15, b',"sampling":{"temperature":"hot"}'), 15, "float"),
        (VALID % (16, b',"sampling":{"tokens":-5}'), 16, ">= 1"),
        (VALID % (17, b',"sampling":{"seed":-5}'), 17, ">= 0"),
        (VALID % (18, b',"sampling":{"top_p":0}'), 18, "> 0"),
        (VALID % (19, b',"sampling":{"stop":[""]}'), 19, ">= 1"),
        (VALID % (20, b',"sampling":{"logit_bias":{"x":1}}'), 20, "int"),
        (VALID % (21, b',"precision":"float8"'), 21, "float8"),
        (b'{"type":"cancel"}', 0, "id"),
    ],
)
def test_invalid_requests_are_refused_with_their_id(child: Child, line: bytes, number: int, what: str) -> None:
    child.send(line)
    reply = refused(child.receive())
    assert reply.id == number
    assert what in reply.what.lower()


def test_a_100_mb_request_is_refused_without_using_memory(child: Child, checkpoint: Path) -> None:
    loaded(child.generate(4, checkpoint))  # after all imports
    before = child.memory()
    child.send(b'{"type":"generate","id":5,"checkpoint":"x","prompt":"' + b"a" * 100_000_000 + b'"}')
    reply = refused(child.receive())
    assert (reply.id, reply.what) == (5, f"the request is longer than {MAX_LINE_BYTES / 2**20:.0f} MiB")
    loaded(child.generate(6, checkpoint))
    assert child.memory() < before + MAX_LINE_BYTES


def test_concurrent_requests_are_limited(child: Child, checkpoint: Path) -> None:
    for number in range(70):
        child.send(endless(number, checkpoint))
    assert "requests are being answered" in refused(child.receive(69)).what
    for number in range(70):
        child.send(Cancel(id=number))
    loaded(child.generate(71, checkpoint))
