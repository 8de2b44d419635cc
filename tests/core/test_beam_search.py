"""The likeliest texts: beams against a slow search, all there are, and transformers; several drawn, ranked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Generator, Sequence
from typing import Any, TypeVar

import pytest
import torch
from msgspec.structs import replace

from core.init.tensors import convert_gpt2, copy_into
from core.model.gpt import GPT
from core.model.inference import inference
from core.recipe.file import load
from core.recipe.schema import Model
from core.sample.beam_search import Beam, NotCausalError, beam_search
from core.sample.rerank import beam_search_texts, best_of_n
from core.sample.stream import TextEnd, stream_text
from core.tokenize.characters import byte_vocabulary
from tests.core.generating import ids, settings
from tests.core.gpt2_folders import transformers_gpt2

T = TypeVar("T")
BYTES = byte_vocabulary()


def end_of(generator: Generator[None, None, T]) -> T:
    """What a generator returns."""
    while True:
        try:
            next(generator)
        except StopIteration as stopped:
            found: T = stopped.value
            return found


def made(vocabulary: int, block_size: int = 32, **fields: Any) -> GPT:
    """A model with opinions."""
    torch.manual_seed(3)
    shape = Model(n_layer=1, n_head=2, n_embd=16, block_size=block_size, zero_init=False, **fields)
    model = GPT(shape, vocabulary)
    with torch.no_grad():
        model.lm_head.weight.mul_(30)
    return model


def costs(model: GPT, texts: Sequence[Sequence[int]]) -> list[list[float]]:
    """Logarithms of the probabilities of what could follow each of some texts of one length."""
    with inference(model):
        return torch.log_softmax(model(torch.tensor(texts))[:, -1].double(), -1).tolist()


def slow(
    model: GPT, prompt: list[int], width: int, tokens: int, ends: Collection[int], penalty: float
) -> list[tuple[list[int], float]]:
    """All ways to go on, of which the best are kept: texts and the logarithms of their probabilities."""
    alive: list[tuple[list[int], float]] = [([], 0.0)]
    done: list[tuple[list[int], float]] = []

    def rank(beam: tuple[list[int], float]) -> float:
        return beam[1] / len(beam[0]) ** penalty

    for number in range(tokens):
        following = costs(model, [[*prompt, *text] for text, _ in alive])
        ways = [
            ([*text, token], nats + cost)
            for (text, nats), row in zip(alive, following, strict=True)
            for token, cost in enumerate(row)
        ]
        ways.sort(key=lambda way: -way[1])
        done += [way for way in ways[:width] if way[0][-1] in ends or number == tokens - 1]
        done = sorted(done, key=rank, reverse=True)[:width]
        alive = [way for way in ways if way[0][-1] not in ends][:width]
        if not alive or (len(done) == width and rank(alive[0]) <= rank(done[-1])):
            break
    return done


@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_beams_are_those_of_a_slow_search(width: int, penalty: float) -> None:
    model, early = made(20), 0
    # tokens that the likeliest text has, so that some texts end early and some do not
    for end in end_of(beam_search(model, [1, 2], num_beams=1, tokens=7, stop_tokens=()))[0].tokens[::2]:
        found = end_of(beam_search(model, [1, 2], num_beams=width, tokens=8, stop_tokens={end}, length_penalty=penalty))
        expected = slow(model, [1, 2], width, 8, {end}, penalty)
        assert [list(beam.tokens) for beam in found] == [text for text, _ in expected]
        assert [beam.log_probability for beam in found] == pytest.approx([nats for _, nats in expected], abs=1e-4)
        assert all(beam.stopped == (beam.tokens[-1] == end) for beam in found)
        early += any(beam.stopped for beam in found)
    assert early


def test_beams_as_wide_as_there_are_texts_find_the_likeliest_of_all() -> None:
    model = made(5)
    found = end_of(beam_search(model, [1], num_beams=125, tokens=3, stop_tokens=(), length_penalty=1.0))
    every = {}
    for text in itertools.product(range(5), repeat=3):
        every[text] = sum(costs(model, [[1, *text[:place]]])[0][token] for place, token in enumerate(text))
    assert [beam.tokens for beam in found] == sorted(every, key=lambda text: -every[text])
    assert sum(math.exp(beam.log_probability) for beam in found) == pytest.approx(1)


def test_one_beam_is_greedy_text_and_past_the_context_it_goes_on() -> None:
    model = made(20, block_size=8)
    (found,) = end_of(beam_search(model, [1, 2], num_beams=1, tokens=30, stop_tokens=()))
    assert list(found.tokens) == ids(model, [1, 2], settings(tokens=30, temperature=0.0))


def test_beams_are_those_of_transformers() -> None:
    size, length = 60, 32
    theirs = transformers_gpt2(vocab_size=size, n_layer=2, n_head=2, n_embd=16, n_positions=length)
    with torch.no_grad():
        theirs.transformer.wte.weight.mul_(25)
    shape = load(preset="gpt2").model
    model = GPT(replace(shape, n_layer=2, n_head=2, n_embd=16, block_size=length), size).eval()
    copy_into(model, convert_gpt2(theirs.state_dict().items()), tokens=size, where="transformers")
    early, prompt = 0, [5, 7, 9]
    for width, penalty in ((1, 1.0), (3, 1.0), (5, 0.0), (4, 2.0)):
        for end in end_of(beam_search(model, prompt, num_beams=1, tokens=10, stop_tokens=()))[0].tokens[2::5]:
            found = end_of(
                beam_search(model, prompt, num_beams=width, tokens=12, stop_tokens={end}, length_penalty=penalty)
            )
            other = theirs.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, 3, dtype=torch.long),
                num_beams=width,
                num_return_sequences=width,
                do_sample=False,
                max_new_tokens=12,
                eos_token_id=end,
                pad_token_id=0,
                length_penalty=penalty,
                return_dict_in_generate=True,
                output_scores=True,
            )
            assert len(found) == width
            rows = [row[3 : 3 + len(beam.tokens)] for row, beam in zip(other.sequences.tolist(), found, strict=True)]
            assert rows == [list(beam.tokens) for beam in found]
            if width > 1:
                ranks = [beam.normalised(penalty) for beam in found]
                assert ranks == pytest.approx(other.sequences_scores.tolist(), rel=1e-3)
            early += any(beam.stopped for beam in found)
    assert early


def test_a_search_can_be_left_after_any_token_and_takes_one_look_for_all_beams(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, looks = made(20), list[tuple[int, ...]]()
    hidden = model.hidden_states

    def counted(ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        looks.append(tuple(ids.shape))
        return hidden(ids, *rest)

    monkeypatch.setattr(model, "hidden_states", counted)
    search = beam_search(model, [1], num_beams=4, tokens=10, stop_tokens=())
    for _ in range(4):
        next(search)
    search.close()
    assert looks == [(1, 32), (4, 1), (4, 1), (4, 1)]


def test_several_drawn_are_those_of_generation_with_what_they_cost_the_model_alone() -> None:
    model, prompt = made(257, block_size=16), [5, 6, 7]
    bent = settings(tokens=40, temperature=1.3, top_k=40, repetition_penalty=1.2, logit_bias={256: 1.5})
    found = end_of(best_of_n(model, BYTES, prompt, bent, 5))
    texts, tokens = [""] * 5, [list[int]() for _ in range(5)]
    reasons = [""] * 5
    for piece in stream_text(model, BYTES, prompt, bent, texts=5):
        texts[piece.text] += piece.characters
        if isinstance(piece, TextEnd):
            tokens[piece.text] += [256] if piece.reason == "end" else []
            reasons[piece.text] = piece.reason
        else:
            tokens[piece.text].append(piece.token)
    expected = []
    for text, drawn, reason in zip(texts, tokens, reasons, strict=True):
        # the context that is full is begun anew with its newest half
        begin, nats, whole = 0, 0.0, [*prompt, *drawn]
        for place in range(3, len(whole)):
            begin = place - 8 if place - begin > 16 else begin
            nats -= costs(model, [whole[begin:place]])[0][whole[place]]
        expected.append((nats / len(drawn), text, len(drawn), reason))
    expected.sort()
    assert {"end", "length"} == set(reasons)
    assert [(each.text, each.tokens, each.reason) for each in found] == [each[1:] for each in expected]
    assert [each.nats for each in found] == pytest.approx([each[0] for each in expected], abs=1e-4)


def test_beams_as_texts_end_before_their_stop_strings_and_marks() -> None:
    model = made(257)
    whole = end_of(beam_search_texts(model, BYTES, [5], settings(tokens=6), 3))
    assert [each.reason for each in whole] == ["length"] * 3
    assert [each.nats for each in whole] == sorted(each.nats for each in whole)
    stop = whole[0].text[2]
    cut = end_of(beam_search_texts(model, BYTES, [5], settings(tokens=6, stop=(stop,)), 3))
    assert (cut[0].text, cut[0].reason) == (whole[0].text[: whole[0].text.index(stop)], "stop")


def test_a_masked_model_is_refused() -> None:
    model = made(20, objective="masked")
    with pytest.raises(NotCausalError, match="a masked model gives no likelihoods"):
        end_of(beam_search(model, [1], num_beams=2, tokens=3, stop_tokens=()))
    with pytest.raises(NotCausalError):
        end_of(best_of_n(model, BYTES, [1], settings(), 2))


def test_a_rank_is_the_logarithm_over_a_power_of_the_length() -> None:
    beam = Beam((1, 2, 3, 4), -8.0, True)
    assert [beam.normalised(power) for power in (0.0, 0.5, 1.0, 2.0)] == [-8.0, -4.0, -2.0, -0.5]
