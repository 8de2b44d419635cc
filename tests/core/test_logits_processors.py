"""Logits processors and sampling, against figures of a book and slow implementations."""

from __future__ import annotations

import collections
import itertools
import math
from typing import Any

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from core.model.gpt import GPT
from core.recipe.checks import RecipeError
from core.recipe.file import load
from core.recipe.sampling import Sampling
from core.recipe.schema import Model
from core.sample import samplers
from core.sample.logits_processors import SamplingSettingError, TokenSampler
from core.sample.protocol import decode_request
from core.sample.samplers import LogitsError
from tests.core.generating import generate_ids, settings

# "Build a Large Language Model (From Scratch)", section 5.3: logits of the token after "every effort moves you"
WORDS = "closer every effort forward inches moves pizza toward you".split()
LOGITS = torch.tensor([4.51, 0.89, -1.90, 6.75, 1.63, -1.62, -1.89, 6.28, 1.79])


def sample_counts(temperature: float) -> dict[str, int]:
    sampler = TokenSampler(settings(temperature=temperature, seed=123), len(WORDS))
    return dict(collections.Counter(WORDS[sampler.sample(LOGITS)] for _ in range(1000)))


def test_a_thousand_samples_match_the_books_counts() -> None:
    assert sample_counts(1.0) == {"closer": 73, "forward": 582, "inches": 2, "toward": 343}
    assert sample_counts(0.1) == {"forward": 985, "toward": 15}
    counts = sample_counts(5.0)
    assert [counts[word] for word in WORDS] == [165, 75, 42, 239, 71, 46, 32, 227, 103]


def test_top_3_probabilities_match_the_book() -> None:
    (step,) = TokenSampler(settings(top_k=3), len(WORDS)).process(LOGITS)
    assert [WORDS[token] for token in step.ids.tolist()] == ["forward", "toward", "closer"]
    assert torch.softmax(step.logits, -1).tolist() == pytest.approx([0.5775, 0.3610, 0.0615], abs=5e-5)


# --- each processor against its definition in plain Python ---

EPSILON = 1e-5
"""Tolerance of sums of float32 probabilities."""


@st.composite
def rows(draw: st.DrawFn) -> Tensor:
    """Random logits (n,) of different ranges and sizes, some with many equal values."""
    size = draw(st.sampled_from([1, 2, 3, 10, 40, 700, 2000]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    row = torch.randn(size, generator=generator) * draw(st.sampled_from([0.1, 1.0, 4.0, 30.0]))
    row = row.round() if draw(st.booleans()) else row
    if draw(st.booleans()) and size > 2:
        row[draw(st.integers(1, size - 1)) :] = -math.inf  # as after a very low temperature
    return row


def softmax(logits: list[float]) -> list[float]:
    maximum = max(logits)
    powers = [math.exp(logit - maximum) for logit in logits]
    total = math.fsum(powers)
    return [power / total for power in powers]


def surprisal_deviations(logits: list[float]) -> list[float]:
    """Distance of each token's surprisal from the entropy."""
    probabilities = softmax(logits)
    surprisals = [-math.log(probability) if probability else math.inf for probability in probabilities]
    expected = math.fsum(
        probability * surprisal for probability, surprisal in zip(probabilities, surprisals, strict=True) if probability
    )
    return [abs(surprisal - expected) for surprisal in surprisals]


def is_smallest_prefix(tokens_kept: list[int], keys: list[float], logits: list[float], p: float) -> bool:
    """Whether `tokens_kept` is the shortest prefix, in ascending order of `keys`, whose probability reaches `p`."""
    probabilities, others = softmax(logits), set(range(len(logits))) - set(tokens_kept)
    reached = math.fsum(probabilities[index] for index in tokens_kept)
    first = all(keys[index] <= keys[following] + EPSILON for index, following in itertools.pairwise(tokens_kept))
    first &= not others or keys[tokens_kept[-1]] <= min(keys[index] for index in others) + EPSILON
    enough = reached >= p - EPSILON or not others
    return first and enough and (len(tokens_kept) == 1 or reached - probabilities[tokens_kept[-1]] < p + EPSILON)


@pytest.mark.heavy
@given(rows(), st.integers(1, 40))
def test_top_k_keeps_the_k_highest(row: Tensor, k: int) -> None:
    tokens_kept = samplers.top_k(row, k).tolist()
    assert row[tokens_kept].tolist() == sorted(row.tolist(), reverse=True)[:k]
    assert len(set(tokens_kept)) == len(tokens_kept) == min(k, len(row))


@given(rows(), st.sampled_from([1e-300, 1e-9, 0.1, 0.5, 0.9, 0.999, 1 - 1e-12]))
def test_top_p_keeps_the_smallest_set_of_most_probable_tokens_that_reaches_p(row: Tensor, p: float) -> None:
    logits = row.tolist()
    underflow = max(logits) - 87  # probabilities of lower logits are 0 in float32, and their order arbitrary
    keys = [-max(logit, underflow) for logit in logits]
    assert is_smallest_prefix(samplers.top_p(row, p).tolist(), keys, logits, p)


@pytest.mark.heavy
@given(rows(), st.sampled_from([1e-300, 0.1, 0.5, 0.9, 0.999]))
def test_typical_p_keeps_the_smallest_set_closest_to_the_entropy(row: Tensor, p: float) -> None:
    logits = row.tolist()
    tokens_kept, keys = samplers.typical_p(row, p).tolist(), surprisal_deviations(logits)
    # float32 decides between equal values
    rounded = [round(each, 3) for each in keys] if max(map(abs, keys)) < math.inf else keys
    assert is_smallest_prefix(tokens_kept, rounded, logits, p) or is_smallest_prefix(tokens_kept, keys, logits, p)


@given(rows(), st.sampled_from([1e-300, 1e-3, 0.1, 0.5, 1.0]))
def test_min_p_keeps_tokens_above_a_share_of_the_highest_probability(row: Tensor, p: float) -> None:
    maximum = float(row.max())
    remaining = set(samplers.min_p(row, p).tolist())
    for index, logit in enumerate(row.tolist()):
        margin = logit - maximum - math.log(p)
        assert (index in remaining) == (margin >= 0) or abs(margin) < 1e-4


@given(rows(), st.sampled_from([1e-320, 1e-30, 1e-3, 0.5, 2.0, 100.0]))
def test_temperature_shifts_the_highest_logit_to_zero(row: Tensor, temperature: float) -> None:
    maximum = float(row.max())
    for logit, found in zip(row.tolist(), samplers.apply_temperature(row, temperature).tolist(), strict=True):
        assert found <= 0
        # beyond float32 only the sign is known; the probability is 0
        assert found < -1e6 or found == pytest.approx((logit - maximum) / temperature, rel=1e-4)


tokens = st.lists(st.integers(0, 9), max_size=8)
TEN = torch.tensor([2.5, -1.0, 0.0, 4.0, -3.5, 1.0, 0.5, 2.0, -0.25, 3.0])


@pytest.mark.heavy
@given(tokens, tokens, st.dictionaries(st.integers(0, 9), st.floats(-1000, 1000)))
def test_bias_and_penalties_match_their_definitions(prompt: list[int], text: list[int], bias: dict[int, float]) -> None:
    sampling = settings(logit_bias=bias, repetition_penalty=1.5, presence_penalty=0.7, frequency_penalty=-0.2)
    sampler = TokenSampler(sampling, 10, prompt=prompt)
    for token in text:
        sampler.record(token)
    expected = TEN.tolist()
    for token, added in bias.items():
        expected[token] += added
    for token in set(prompt) | set(text):
        expected[token] = expected[token] / 1.5 if expected[token] > 0 else expected[token] * 1.5
    for token in set(text):
        expected[token] -= 0.7 - 0.2 * text.count(token)
    found = [step.logits for step in sampler.process(TEN)][-1:] or [TEN]
    assert found[0].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-4)


# --- all processors ---

ALL = Sampling(
    logit_bias={3: -1.0},
    repetition_penalty=1.2,
    presence_penalty=0.1,
    frequency_penalty=0.1,
    temperature=0.7,
    top_k=8,
    top_p=0.95,
    min_p=0.02,
    typical_p=0.8,
)


def test_processors_run_in_the_order_of_the_settings_on_the_output_of_the_previous_one() -> None:
    sampler = TokenSampler(ALL, 10, prompt=[1, 2])
    sampler.record(5)
    steps = list(sampler.process(TEN))
    names = [step.name for step in steps]
    assert names == [name for name in Sampling.__struct_fields__ if name in names]
    assert set(names) == set(Sampling.__struct_fields__) - {"tokens", "seed", "stop", "stop_tokens"}
    left = [set(step.ids.tolist()) for step in steps]
    assert all(later <= earlier for earlier, later in itertools.pairwise(left))
    scaled = steps[names.index("temperature")].logits
    for step, before in zip(steps[-4:], steps[-5:-1], strict=True):
        value = {"top_k": 8, "top_p": 0.95, "min_p": 0.02, "typical_p": 0.8}[step.name]
        assert step.ids.tolist() == before.ids[getattr(samplers, step.name)(before.logits, value)].tolist()
        assert torch.equal(step.logits, scaled[step.ids])


def test_settings_without_effect_have_no_processor() -> None:
    sampler = TokenSampler(settings(top_k=10), 10)
    sampler.record(1)
    assert list(sampler.process(TEN)) == []
    assert list(TokenSampler(settings(top_k=10**30, repetition_penalty=2.0), 10).process(TEN)) == []
    assert [
        step.name for step in TokenSampler(settings(top_k=9, temperature=0.0, logit_bias={1: 2.0}), 10).process(TEN)
    ] == ["logit_bias"]


@pytest.mark.parametrize(
    "overrides",
    [{"top_k": 1}, {"top_p": 1e-300}, {"min_p": 1.0}, {"typical_p": 1e-300, "top_k": 1}, {"temperature": 1e-320}],
    ids=str,
)
def test_settings_that_leave_one_token_always_sample_the_most_probable(overrides: dict[str, Any]) -> None:
    sampler = TokenSampler(settings(**overrides), len(WORDS))
    assert {WORDS[sampler.sample(LOGITS)] for _ in range(100)} == {"forward"}


def test_logit_bias_can_forbid_and_force_tokens_and_greedy_takes_the_first_of_equal_logits() -> None:
    forced = TokenSampler(settings(logit_bias={2: 1000.0, 3: -1000.0}), len(WORDS))
    assert {WORDS[forced.sample(LOGITS)] for _ in range(20)} == {"effort"}
    equal_logits = torch.zeros(len(WORDS))
    assert TokenSampler(settings(temperature=0.0), len(WORDS)).sample(equal_logits) == 0
    top_3 = TokenSampler(settings(top_k=3), len(WORDS))
    assert len({top_3.sample(equal_logits) for _ in range(100)}) == 3


@pytest.mark.parametrize(
    "invalid_settings", [{"logit_bias": {10: 1.0}}, {"logit_bias": {-1: 1.0}}, {"stop_tokens": (10,)}], ids=str
)
def test_token_ids_outside_the_vocabulary_are_refused(invalid_settings: dict[str, Any]) -> None:
    with pytest.raises(SamplingSettingError, match="there is no token"):
        TokenSampler(settings(**invalid_settings), 10)


NUMBERS = ("repetition_penalty", "presence_penalty", "frequency_penalty", "temperature", "top_p", "min_p", "typical_p")


@pytest.mark.heavy
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
@pytest.mark.parametrize("name", [*NUMBERS, "logit_bias"])
def test_nan_and_infinity_are_refused(name: str, value: str) -> None:
    literal = f"{{ 3 = {value} }}" if name == "logit_bias" else value
    with pytest.raises(RecipeError, match=rf"sample\.{name} = .* is not a"):
        load(overrides=[f"sample.{name}={literal}"])
    spelled = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity", "1e999": "1e999"}[value]
    line = f'{{"type":"generate","id":1,"checkpoint":"x","prompt":"","sampling":{{"{name}":{spelled}}}}}'
    with pytest.raises(msgspec.DecodeError):
        decode_request(line.encode())


@pytest.mark.heavy
def test_processors_match_transformers() -> None:
    pytest.importorskip("transformers")
    from transformers.generation import logits_process as hf_processors

    generator = torch.Generator().manual_seed(1)
    prompt: Any = torch.randint(1000, (1, 30), generator=generator)
    for _ in range(3):
        row = torch.randn(1000, generator=generator) * 3
        for ours, hf_processor in (
            (samplers.top_k(row, 40), hf_processors.TopKLogitsWarper(40)),
            (samplers.top_p(row, 0.9), hf_processors.TopPLogitsWarper(0.9)),
            (samplers.min_p(row, 0.02), hf_processors.MinPLogitsWarper(0.02)),
            (samplers.typical_p(row, 0.7), hf_processors.TypicalLogitsWarper(0.7)),
        ):
            remaining = hf_processor(prompt, row[None])[0].isfinite().nonzero()[:, 0]
            assert sorted(ours.tolist()) == remaining.tolist()
        penalised = hf_processors.RepetitionPenaltyLogitsProcessor(1.3)(prompt, row[None].clone())[0]
        assert torch.allclose(samplers.apply_repetition_penalty(row, prompt[0].unique(), 1.3), penalised)


# --- generated texts ---


def model() -> GPT:
    torch.manual_seed(1)
    return GPT(Model(n_layer=1, n_head=2, n_embd=16, block_size=8), 20)


def test_a_seed_determines_the_text_and_global_random_state_is_unchanged() -> None:
    gpt = model()
    before = torch.get_rng_state()
    first = generate_ids(gpt, [1, 2], settings())
    assert first == generate_ids(gpt, [1, 2], settings())
    assert first != generate_ids(gpt, [1, 2], settings(seed=6))
    assert torch.equal(before, torch.get_rng_state())
    assert gpt.training


def test_generation_continues_past_the_context_with_its_last_tokens() -> None:
    long = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]
    assert generate_ids(model(), long, settings()) == generate_ids(model(), long[-8:], settings())


def test_temperature_zero_is_greedy_and_a_stop_token_ends_the_text() -> None:
    greedy = generate_ids(model(), [1], settings(temperature=0.0))
    assert greedy == generate_ids(model(), [1], settings(temperature=0.0, seed=99))
    assert generate_ids(model(), [1], settings(temperature=0.0, stop_tokens=(greedy[0],))) == []


def test_non_finite_logits_raise_an_error() -> None:
    model_with_nan = model()
    with torch.no_grad():
        model_with_nan.lm_head.weight[3] = torch.nan
    with pytest.raises(LogitsError, match="not finite"):
        generate_ids(model_with_nan, [1], settings())
