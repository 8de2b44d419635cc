"""The six steps of generation, against plain implementations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from core.recipe.sampling import Sampling
from core.sample.inspect.figures import token_info
from core.sample.inspect_protocol import (
    MAX_TOKEN_BYTES,
    AppendedToken,
    LastLogits,
    LogitsMatrix,
    PromptTokens,
    SampledToken,
    TokenProbabilities,
)
from core.sample.prompts import encode_whole_prompt
from core.sample.stream import generate_text
from core.tokenize.vocabulary import END_OF_TEXT, Vocabulary
from tests.core.generating import generate_ids, settings
from tests.core.inspecting import (
    BYTES,
    TEXT,
    bits,
    each_shape,
    inspect_results,
    logits_at,
    model_of,
    of_type,
    softmax,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def test_prompt_tokens_have_ids_and_bytes() -> None:
    (tokens,) = of_type(PromptTokens, inspect_results(model_of(), encode_whole_prompt(BYTES, "né")))
    assert [(token.id, token.kind, token.text, token.bytes) for token in tokens.tokens] == [
        (0x6E, "text", "n", "6e"),
        (0xC3, "bytes", "", "c3"),
        (0xA9, "bytes", "", "a9"),
    ]
    assert (tokens.first, tokens.seen, tokens.dropped) == (1, 3, 0)


def test_special_unused_mask_and_very_long_tokens_have_their_kind() -> None:
    long = "🙂".encode() * 100
    ranks = [*(bytes([byte]) for byte in range(256)), b"", long, b"\x1b[2J", b"\x80" * 500]
    vocabulary = Vocabulary("odd", "", ranks, {END_OF_TEXT: 270})
    assert (token_info(vocabulary, 270).kind, token_info(vocabulary, 270).text) == ("mark", END_OF_TEXT)
    assert [token_info(vocabulary, token).kind for token in (256, 265, 999)] == ["gap", "gap", "gap"]
    assert token_info(vocabulary, 271, mask=271).kind == "hidden"
    assert token_info(vocabulary, 257).text == "🙂" * (MAX_TOKEN_BYTES // 4)
    assert token_info(vocabulary, 257).cut
    assert token_info(vocabulary, 258).text == "\x1b[2J"
    assert (token_info(vocabulary, 259).kind, token_info(vocabulary, 259).bytes) == ("bytes", "80" * MAX_TOKEN_BYTES)


@each_shape
def test_logits_matrix_matches_the_model(name: str) -> None:
    model = model_of(name)
    results = inspect_results(model, rows=4, columns=5)
    ids = TEXT if model.mask_token_id is None else [*TEXT, model.mask_token_id]
    (outputs,) = of_type(LogitsMatrix, results)
    assert (outputs.positions, outputs.vocabulary) == (len(ids), 257)
    assert outputs.columns == (0, 1, 2, 3, 256)
    assert [row.position for row in outputs.rows] == [1, 2, len(ids) - 1, len(ids)]
    for row in outputs.rows:
        whole = logits_at(model, ids, row.position - 1)
        assert row.token.id == ids[row.position - 1]
        assert row.logits == pytest.approx([whole[column] for column in outputs.columns], abs=1e-4)
    (last,) = of_type(LastLogits, results)
    whole = logits_at(model, ids)
    mean = math.fsum(whole) / 257
    assert last.logits == pytest.approx(outputs.rows[-1].logits, abs=1e-4)
    assert (last.lowest, last.highest, last.mean) == pytest.approx((min(whole), max(whole), mean), abs=1e-4)
    assert last.deviation == pytest.approx(math.sqrt(math.fsum((one - mean) ** 2 for one in whole) / 257), abs=1e-4)


def slow_probabilities(logits: list[float], sampling: Sampling, text: Sequence[int]) -> dict[str, dict[int, float]]:
    """Probabilities after each processor by token id; removed tokens are absent."""
    logits = list(logits)
    after_processor = {"softmax": dict(enumerate(softmax(logits)))}
    for token, bias in sampling.logit_bias.items():
        logits[token] += bias
    after_processor["logit_bias"] = dict(enumerate(softmax(logits)))
    for token in set(text):
        logits[token] *= sampling.repetition_penalty if logits[token] < 0 else 1 / sampling.repetition_penalty
    after_processor["repetition_penalty"] = dict(enumerate(softmax(logits)))
    left = after_processor["temperature"] = dict(enumerate(softmax([logit / sampling.temperature for logit in logits])))

    def kept(tokens: Sequence[int]) -> dict[int, float]:
        total = math.fsum(left[token] for token in tokens)
        return {token: left[token] / total for token in tokens}

    order = sorted(left, key=lambda token: -left[token])
    left = after_processor["top_k"] = kept(order[: sampling.top_k])
    nucleus: list[int] = []
    while math.fsum(left[token] for token in nucleus) < sampling.top_p:
        nucleus.append(order[len(nucleus)])
    left = after_processor["top_p"] = kept(nucleus)
    after_processor["min_p"] = kept([token for token in nucleus if left[token] >= sampling.min_p * max(left.values())])
    return after_processor


def test_probabilities_after_each_processor_match_a_slow_implementation() -> None:
    model = model_of()
    sampling = settings(
        tokens=1, logit_bias={7: 1.5}, repetition_penalty=1.3, temperature=3.0, top_k=60, top_p=0.8, min_p=0.1
    )
    results = inspect_results(model, sampling=sampling, candidates=100)
    (probabilities_result,), (choice,) = of_type(TokenProbabilities, results), of_type(SampledToken, results)
    raw = logits_at(model, TEXT)
    slow = slow_probabilities(raw, sampling, TEXT)
    assert [processor.name for processor in probabilities_result.processors] == list(slow)
    assert [processor.remaining for processor in probabilities_result.processors] == [
        len(left) for left in slow.values()
    ]
    for number, (processor, left) in enumerate(zip(probabilities_result.processors, slow.values(), strict=True)):
        assert processor.entropy == pytest.approx(bits(list(left.values())), abs=1e-3)
        for candidate in probabilities_result.candidates:
            probability = candidate.probabilities[number]
            assert (probability is None) == (candidate.token.id not in left)
            assert probability is None or probability == pytest.approx(left[candidate.token.id], abs=1e-5)
    last = [candidate.probabilities[-1] for candidate in probabilities_result.candidates]
    assert math.fsum(one or 0.0 for one in last) == pytest.approx(1, abs=1e-5)
    assert last == sorted(last, key=lambda one: -(one if one is not None else -1.0))
    assert [candidate.logit for candidate in probabilities_result.candidates] == pytest.approx(
        [raw[candidate.token.id] for candidate in probabilities_result.candidates], abs=1e-4
    )
    assert choice.probability == pytest.approx(slow["min_p"][choice.token.id], abs=1e-5)
    assert choice.before == pytest.approx(slow["softmax"][choice.token.id], abs=1e-5)
    assert choice.surprise == pytest.approx(-math.log2(choice.before), abs=1e-4)
    assert choice.rank == 1 + sum(logit > raw[choice.token.id] for logit in raw)


def test_temperature_zero_leaves_one_token() -> None:
    results = inspect_results(model_of(), sampling=settings(tokens=1, temperature=0, top_k=5))
    (probabilities_result,), (choice,) = of_type(TokenProbabilities, results), of_type(SampledToken, results)
    assert [
        (processor.name, processor.value, processor.remaining) for processor in probabilities_result.processors
    ] == [
        ("softmax", None, 257),
        ("temperature", 0.0, 1),
    ]
    assert (choice.rank, choice.probability) == (1, 1.0)
    assert [candidate.probabilities[-1] for candidate in probabilities_result.candidates] == [1.0, *[None] * 7]


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"temperature": 0.0},
        {"temperature": 2.0, "top_k": 40, "top_p": 0.9, "frequency_penalty": 1.0, "presence_penalty": 0.5},
        {"typical_p": 0.5, "repetition_penalty": 1.5, "logit_bias": {3: 5.0}},
    ],
)
def test_sampled_tokens_are_those_of_generation_also_past_the_context(other: dict[str, Any]) -> None:
    never_ending = {BYTES.end_of_text: -1000.0}
    model, sampling = (
        model_of(),
        settings(tokens=18, **{**other, "logit_bias": never_ending | other.get("logit_bias", {})}),
    )
    results = inspect_results(model, sampling=sampling)
    appended = of_type(AppendedToken, results)
    ids_generated = generate_ids(model, TEXT, sampling)
    assert [choice.token.id for choice in of_type(SampledToken, results)] == ids_generated
    assert [one.length for one in appended] == list(range(12, 30))
    assert [one.position for one in of_type(LastLogits, results)] == [*range(11, 17), *range(8, 17), 8, 9, 10]
    assert "".join(one.text for one in appended) == generate_text(model, BYTES, bytes(TEXT).decode(), sampling)
    assert [one.reason for one in appended] == [None] * 17 + ["length"]


def test_a_masked_model_unmasks_one_position_like_generation() -> None:
    model = model_of("masked")
    for seed in range(5):
        sampling = settings(tokens=1, seed=seed)
        assert [
            one.token.id for one in of_type(SampledToken, inspect_results(model, sampling=sampling))
        ] == generate_ids(model, TEXT, sampling)
    never_ending = settings(tokens=20, logit_bias={BYTES.end_of_text: -1000.0})
    assert len(of_type(SampledToken, inspect_results(model, sampling=never_ending))) == 20  # more than its context


def test_the_text_ends_where_generation_ends_it() -> None:
    model, sampling = model_of(), settings(tokens=30)
    ids_generated = generate_ids(model, TEXT, sampling)
    ended = inspect_results(model, sampling=msgspec.structs.replace(sampling, stop_tokens=(ids_generated[3],)))
    assert [one.reason for one in of_type(AppendedToken, ended)][-1] == "end"
    assert len(of_type(AppendedToken, ended)) == ids_generated.index(ids_generated[3]) + 1
    whole = generate_text(model, BYTES, bytes(TEXT).decode(), sampling)
    position = next(number for number in range(8, len(whole)) if whole[number].isascii())
    stopping = msgspec.structs.replace(sampling, stop=(whole[position : position + 1],))
    appended = of_type(AppendedToken, inspect_results(model, sampling=stopping))
    assert appended[-1].reason == "stop"
    assert "".join(one.text for one in appended) == generate_text(model, BYTES, bytes(TEXT).decode(), stopping)
