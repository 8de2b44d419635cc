"""Beam search against a slow search, exhaustive search and transformers; best of N."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Generator, Sequence
from typing import Any, TypeVar

import pytest
import torch
from msgspec.structs import replace

from core.model.gpt import GPT
from core.model.inference import inference
from core.recipe.file import load
from core.recipe.schema import Model
from core.sample.beam_search import Beam, NotCausalError, beam_search
from core.sample.rerank import beam_search_texts, best_of_n
from core.sample.stream import GeneratedToken, TextEnd, stream_text
from core.tokenize.characters import byte_vocabulary
from tests.core.generating import generate_ids, settings
from tests.core.gpt2_folders import copy_gpt2, transformers_gpt2

T = TypeVar("T")
BYTES = byte_vocabulary()


def return_value(generator: Generator[None, None, T]) -> T:
    """The return value of a generator."""
    while True:
        try:
            next(generator)
        except StopIteration as stopped:
            result: T = stopped.value
            return result


def make_model(vocabulary: int, block_size: int = 32, **fields: Any) -> GPT:
    """A model whose logits differ clearly."""
    torch.manual_seed(3)
    shape = Model(n_layer=1, n_head=2, n_embd=16, block_size=block_size, zero_init=False, **fields)
    model = GPT(shape, vocabulary)
    with torch.no_grad():
        model.lm_head.weight.mul_(30)
    return model


def log_probabilities(model: GPT, texts: Sequence[Sequence[int]]) -> list[list[float]]:
    """Log-probabilities (texts, vocabulary) of the next token after texts of equal length."""
    with inference(model):
        return torch.log_softmax(model(torch.tensor(texts))[:, -1].double(), -1).tolist()


def slow_beam_search(
    model: GPT, prompt: list[int], width: int, tokens: int, ends: Collection[int], penalty: float
) -> list[tuple[list[int], float]]:
    """Beam search over plain lists: texts and their log-probabilities."""
    active: list[tuple[list[int], float]] = [([], 0.0)]
    done: list[tuple[list[int], float]] = []

    def rank(beam: tuple[list[int], float]) -> float:
        return beam[1] / len(beam[0]) ** penalty

    for number in range(tokens):
        next_log_probabilities = log_probabilities(model, [[*prompt, *text] for text, _ in active])
        candidates = [
            ([*text, token], total + log_probability)
            for (text, total), row in zip(active, next_log_probabilities, strict=True)
            for token, log_probability in enumerate(row)
        ]
        candidates.sort(key=lambda candidate: -candidate[1])
        done += [candidate for candidate in candidates[:width] if candidate[0][-1] in ends or number == tokens - 1]
        done = sorted(done, key=rank, reverse=True)[:width]
        active = [candidate for candidate in candidates if candidate[0][-1] not in ends][:width]
        if not active or (len(done) == width and rank(active[0]) <= rank(done[-1])):
            break
    return done


@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_beams_match_a_slow_search(width: int, penalty: float) -> None:
    model, stopped_early = make_model(20), 0
    # stop tokens from the most probable text, so that some texts end early
    for end in return_value(beam_search(model, [1, 2], num_beams=1, tokens=7, stop_tokens=()))[0].tokens[::2]:
        result = return_value(
            beam_search(model, [1, 2], num_beams=width, tokens=8, stop_tokens={end}, length_penalty=penalty)
        )
        expected = slow_beam_search(model, [1, 2], width, 8, {end}, penalty)
        assert [list(beam.tokens) for beam in result] == [text for text, _ in expected]
        assert [beam.log_probability for beam in result] == pytest.approx([total for _, total in expected], abs=1e-4)
        assert all(beam.stopped == (beam.tokens[-1] == end) for beam in result)
        stopped_early += any(beam.stopped for beam in result)
    assert stopped_early


def test_exhaustive_beams_find_all_texts_by_probability() -> None:
    model = make_model(5)
    result = return_value(beam_search(model, [1], num_beams=125, tokens=3, stop_tokens=(), length_penalty=1.0))
    all_texts = {}
    for text in itertools.product(range(5), repeat=3):
        all_texts[text] = sum(
            log_probabilities(model, [[1, *text[:position]]])[0][token] for position, token in enumerate(text)
        )
    assert [beam.tokens for beam in result] == sorted(all_texts, key=lambda text: -all_texts[text])
    assert sum(math.exp(beam.log_probability) for beam in result) == pytest.approx(1)


def test_one_beam_is_greedy_decoding_also_past_the_context() -> None:
    model = make_model(20, block_size=8)
    (result,) = return_value(beam_search(model, [1, 2], num_beams=1, tokens=30, stop_tokens=()))
    assert list(result.tokens) == generate_ids(model, [1, 2], settings(tokens=30, temperature=0.0))


@pytest.mark.heavy
def test_beams_match_transformers() -> None:
    size, length = 60, 32
    hf_model = transformers_gpt2(vocab_size=size, n_layer=2, n_head=2, n_embd=16, n_positions=length)
    with torch.no_grad():
        hf_model.transformer.wte.weight.mul_(25)
    shape = load(preset="gpt2").model
    model = GPT(replace(shape, n_layer=2, n_head=2, n_embd=16, block_size=length), size).eval()
    copy_gpt2(model, hf_model.state_dict())
    stopped_early, prompt = 0, [5, 7, 9]
    for width, penalty in ((1, 1.0), (3, 1.0), (5, 0.0), (4, 2.0)):
        for end in return_value(beam_search(model, prompt, num_beams=1, tokens=10, stop_tokens=()))[0].tokens[2::5]:
            result = return_value(
                beam_search(model, prompt, num_beams=width, tokens=12, stop_tokens={end}, length_penalty=penalty)
            )
            hf_output = hf_model.generate(
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
            assert len(result) == width
            rows = [
                row[3 : 3 + len(beam.tokens)] for row, beam in zip(hf_output.sequences.tolist(), result, strict=True)
            ]
            assert rows == [list(beam.tokens) for beam in result]
            if width > 1:
                ranks = [beam.normalised(penalty) for beam in result]
                assert ranks == pytest.approx(hf_output.sequences_scores.tolist(), rel=1e-3)
            stopped_early += any(beam.stopped for beam in result)
    assert stopped_early


def test_beam_search_can_be_cancelled_after_each_token_and_batches_its_beams(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, batch_shapes = make_model(20), list[tuple[int, ...]]()
    hidden_states = model.hidden_states

    def recording_hidden_states(ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        batch_shapes.append(tuple(ids.shape))
        return hidden_states(ids, *rest)

    monkeypatch.setattr(model, "hidden_states", recording_hidden_states)
    search = beam_search(model, [1], num_beams=4, tokens=10, stop_tokens=())
    for _ in range(4):
        next(search)
    search.close()
    assert batch_shapes == [(1, 32), (4, 1), (4, 1), (4, 1)]


def test_best_of_n_ranks_the_texts_of_generation_by_their_loss() -> None:
    model, prompt = make_model(257, block_size=16), [5, 6, 7]
    sampling = settings(tokens=40, temperature=1.3, top_k=40, repetition_penalty=1.2, logit_bias={256: 1.5})
    result = return_value(best_of_n(model, BYTES, prompt, sampling, 5))
    texts, tokens = [""] * 5, [list[int]() for _ in range(5)]
    reasons = [""] * 5
    for event in stream_text(model, BYTES, prompt, sampling, texts=5):
        assert isinstance(event, TextEnd | GeneratedToken)
        texts[event.text] += event.characters
        if isinstance(event, TextEnd):
            tokens[event.text] += [256] if event.reason == "end" else []
            reasons[event.text] = event.reason
        else:
            tokens[event.text].append(event.token)
    expected = []
    for text, generated, reason in zip(texts, tokens, reasons, strict=True):
        # a full context is restarted with its newer half
        start, total, full_text = 0, 0.0, [*prompt, *generated]
        for position in range(3, len(full_text)):
            start = position - 8 if position - start > 16 else start
            total -= log_probabilities(model, [full_text[start:position]])[0][full_text[position]]
        expected.append((total / len(generated), text, len(generated), reason))
    expected.sort()
    assert {"end", "length"} == set(reasons)
    assert [(text_result.text, text_result.tokens, text_result.reason) for text_result in result] == [
        text_result[1:] for text_result in expected
    ]
    assert [text_result.nats for text_result in result] == pytest.approx(
        [text_result[0] for text_result in expected], abs=1e-4
    )


def test_texts_of_beams_end_before_stop_strings_and_stop_tokens() -> None:
    model = make_model(257)
    full_text = return_value(beam_search_texts(model, BYTES, [5], settings(tokens=6), 3))
    assert [text_result.reason for text_result in full_text] == ["length"] * 3
    assert [text_result.nats for text_result in full_text] == sorted(text_result.nats for text_result in full_text)
    stop = full_text[0].text[2]
    with_stop = return_value(beam_search_texts(model, BYTES, [5], settings(tokens=6, stop=(stop,)), 3))
    assert (with_stop[0].text, with_stop[0].reason) == (full_text[0].text[: full_text[0].text.index(stop)], "stop")


def test_a_masked_model_is_refused() -> None:
    model = make_model(20, objective="masked")
    with pytest.raises(NotCausalError, match="a masked model gives no likelihoods"):
        return_value(beam_search(model, [1], num_beams=2, tokens=3, stop_tokens=()))
    with pytest.raises(NotCausalError):
        return_value(best_of_n(model, BYTES, [1], settings(), 2))


def test_beam_score_is_log_probability_over_a_power_of_the_length() -> None:
    beam = Beam((1, 2, 3, 4), -8.0, True)
    assert [beam.normalised(power) for power in (0.0, 0.5, 1.0, 2.0)] == [-8.0, -4.0, -2.0, -0.5]
