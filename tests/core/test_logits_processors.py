"""Samplers, against the book's figures and against slow versions that are obviously right."""

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
from tests.core.generating import ids, settings

# "Build a Large Language Model (From Scratch)", section 5.3: scores for what follows "every effort moves you"
WORDS = "closer every effort forward inches moves pizza toward you".split()
LOGITS = torch.tensor([4.51, 0.89, -1.90, 6.75, 1.63, -1.62, -1.89, 6.28, 1.79])


def draws(temperature: float) -> dict[str, int]:
    chain = TokenSampler(settings(temperature=temperature, seed=123), len(WORDS))
    return dict(collections.Counter(WORDS[chain.sample(LOGITS)] for _ in range(1000)))


def test_a_thousand_draws_give_the_books_counts() -> None:
    assert draws(1.0) == {"closer": 73, "forward": 582, "inches": 2, "toward": 343}
    assert draws(0.1) == {"forward": 985, "toward": 15}
    counts = draws(5.0)
    assert [counts[word] for word in WORDS] == [165, 75, 42, 239, 71, 46, 32, 227, 103]


def test_top_3_probabilities_are_the_books() -> None:
    (step,) = TokenSampler(settings(top_k=3), len(WORDS)).process(LOGITS)
    assert [WORDS[token] for token in step.ids.tolist()] == ["forward", "toward", "closer"]
    assert torch.softmax(step.logits, -1).tolist() == pytest.approx([0.5775, 0.3610, 0.0615], abs=5e-5)


# --- each link against its definition in plain Python ---

EPSILON = 1e-5
"""Sums of float32 probabilities may lie on either side of a border that is nearer."""


@st.composite
def rows(draw: st.DrawFn) -> Tensor:
    """(n,) random scores, narrow or wide, a few or enough to be looked through by blocks; some rows full of ties."""
    size = draw(st.sampled_from([1, 2, 3, 10, 40, 700, 2000]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    row = torch.randn(size, generator=generator) * draw(st.sampled_from([0.1, 1.0, 4.0, 30.0]))
    row = row.round() if draw(st.booleans()) else row
    if draw(st.booleans()) and size > 2:
        row[draw(st.integers(1, size - 1)) :] = -math.inf  # as a tiny temperature leaves them
    return row


def softmax(scores: list[float]) -> list[float]:
    highest = max(scores)
    powers = [math.exp(score - highest) for score in scores]
    total = math.fsum(powers)
    return [power / total for power in powers]


def surprising(scores: list[float]) -> list[float]:
    """How far each token's surprise is from the expected one."""
    shares = softmax(scores)
    surprises = [-math.log(share) if share else math.inf for share in shares]
    expected = math.fsum(share * surprise for share, surprise in zip(shares, surprises, strict=True) if share)
    return [abs(surprise - expected) for surprise in surprises]


def are_the_fewest(places: list[int], by: list[float], scores: list[float], p: float) -> bool:
    """Whether `places` are the first by `by`, lowest first, that together are as likely as `p`, and no more."""
    shares, others = softmax(scores), set(range(len(scores))) - set(places)
    reached = math.fsum(shares[place] for place in places)
    first = all(by[place] <= by[following] + EPSILON for place, following in itertools.pairwise(places))
    first &= not others or by[places[-1]] <= min(by[place] for place in others) + EPSILON
    enough = reached >= p - EPSILON or not others
    return first and enough and (len(places) == 1 or reached - shares[places[-1]] < p + EPSILON)


@given(rows(), st.integers(1, 40))
def test_top_k_keeps_the_k_highest(row: Tensor, k: int) -> None:
    places = samplers.top_k(row, k).tolist()
    assert row[places].tolist() == sorted(row.tolist(), reverse=True)[:k]
    assert len(set(places)) == len(places) == min(k, len(row))


@given(rows(), st.sampled_from([1e-300, 1e-9, 0.1, 0.5, 0.9, 0.999, 1 - 1e-12]))
def test_top_p_keeps_the_fewest_of_the_likeliest_that_reach_p(row: Tensor, p: float) -> None:
    scores = row.tolist()
    assert are_the_fewest(samplers.top_p(row, p).tolist(), [-score for score in scores], scores, p)


@given(rows(), st.sampled_from([1e-300, 0.1, 0.5, 0.9, 0.999]))
def test_typical_p_keeps_the_fewest_of_those_as_surprising_as_expected(row: Tensor, p: float) -> None:
    scores = row.tolist()
    places, by = samplers.typical_p(row, p).tolist(), surprising(scores)
    # where all are alike float32 decides
    near = [round(each, 3) for each in by] if max(map(abs, by)) < math.inf else by
    assert are_the_fewest(places, near, scores, p) or are_the_fewest(places, by, scores, p)


@given(rows(), st.sampled_from([1e-300, 1e-3, 0.1, 0.5, 1.0]))
def test_min_p_keeps_those_that_likely_beside_the_likeliest(row: Tensor, p: float) -> None:
    highest = float(row.max())
    kept = set(samplers.min_p(row, p).tolist())
    for place, score in enumerate(row.tolist()):
        border = score - highest - math.log(p)
        assert (place in kept) == (border >= 0) or abs(border) < 1e-4


@given(rows(), st.sampled_from([1e-320, 1e-30, 1e-3, 0.5, 2.0, 100.0]))
def test_any_temperature_leaves_the_likeliest_at_zero_and_nothing_above(row: Tensor, temperature: float) -> None:
    highest = float(row.max())
    for score, found in zip(row.tolist(), samplers.apply_temperature(row, temperature).tolist(), strict=True):
        assert found <= 0
        # beyond float32 there is no telling how far below, and no chance
        assert found < -1e6 or found == pytest.approx((score - highest) / temperature, rel=1e-4)


tokens = st.lists(st.integers(0, 9), max_size=8)
TEN = torch.tensor([2.5, -1.0, 0.0, 4.0, -3.5, 1.0, 0.5, 2.0, -0.25, 3.0])


@given(tokens, tokens, st.dictionaries(st.integers(0, 9), st.floats(-1000, 1000)))
def test_bias_and_penalties_are_what_their_names_say(
    prompt: list[int], text: list[int], bias: dict[int, float]
) -> None:
    wanted = settings(logit_bias=bias, repetition_penalty=1.5, presence_penalty=0.7, frequency_penalty=-0.2)
    chain = TokenSampler(wanted, 10, prompt=prompt)
    for token in text:
        chain.record(token)
    expected = TEN.tolist()
    for token, added in bias.items():
        expected[token] += added
    for token in set(prompt) | set(text):
        expected[token] = expected[token] / 1.5 if expected[token] > 0 else expected[token] * 1.5
    for token in set(text):
        expected[token] -= 0.7 - 0.2 * text.count(token)
    found = [step.logits for step in chain.process(TEN)][-1:] or [TEN]
    assert found[0].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-4)


# --- the chain ---

ALL = Sampling(
    **{"logit_bias": {3: -1.0}, "repetition_penalty": 1.2, "presence_penalty": 0.1, "frequency_penalty": 0.1},
    **{"temperature": 0.7, "top_k": 8, "top_p": 0.95, "min_p": 0.02, "typical_p": 0.8},
)


def test_the_links_come_in_the_order_of_the_settings_and_each_sees_what_the_one_before_left() -> None:
    chain = TokenSampler(ALL, 10, prompt=[1, 2])
    chain.record(5)
    steps = list(chain.process(TEN))
    names = [step.name for step in steps]
    assert names == [name for name in Sampling.__struct_fields__ if name in names]
    assert set(names) == set(Sampling.__struct_fields__) - {"tokens", "seed", "stop", "stop_tokens"}
    left = [set(step.ids.tolist()) for step in steps]
    assert all(later <= earlier for earlier, later in itertools.pairwise(left))
    warm = steps[names.index("temperature")].logits
    for step, before in zip(steps[-4:], steps[-5:-1], strict=True):
        link = {"top_k": 8, "top_p": 0.95, "min_p": 0.02, "typical_p": 0.8}[step.name]
        assert step.ids.tolist() == before.ids[getattr(samplers, step.name)(before.logits, link)].tolist()
        assert torch.equal(step.logits, warm[step.ids])


def test_what_a_setting_leaves_as_it_is_is_no_link() -> None:
    chain = TokenSampler(settings(top_k=10), 10)
    chain.record(1)
    assert list(chain.process(TEN)) == []
    assert list(TokenSampler(settings(top_k=10**30, repetition_penalty=2.0), 10).process(TEN)) == []
    assert [
        step.name for step in TokenSampler(settings(top_k=9, temperature=0.0, logit_bias={1: 2.0}), 10).process(TEN)
    ] == ["logit_bias"]


@pytest.mark.parametrize(
    "only",
    [{"top_k": 1}, {"top_p": 1e-300}, {"min_p": 1.0}, {"typical_p": 1e-300, "top_k": 1}, {"temperature": 1e-320}],
    ids=str,
)
def test_settings_that_leave_one_token_always_draw_the_likeliest(only: dict[str, Any]) -> None:
    chain = TokenSampler(settings(**only), len(WORDS))
    assert {WORDS[chain.sample(LOGITS)] for _ in range(100)} == {"forward"}


def test_a_bias_can_forbid_and_force_and_ties_take_the_first_when_greedy() -> None:
    forced = TokenSampler(settings(logit_bias={2: 1000.0, 3: -1000.0}), len(WORDS))
    assert {WORDS[forced.sample(LOGITS)] for _ in range(20)} == {"effort"}
    level = torch.zeros(len(WORDS))
    assert TokenSampler(settings(temperature=0.0), len(WORDS)).sample(level) == 0
    drawn = TokenSampler(settings(top_k=3), len(WORDS))
    assert len({drawn.sample(level) for _ in range(100)}) == 3


@pytest.mark.parametrize(
    "wrong", [{"logit_bias": {10: 1.0}}, {"logit_bias": {-1: 1.0}}, {"stop_tokens": (10,)}], ids=str
)
def test_tokens_that_the_vocabulary_does_not_have_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SamplingSettingError, match="there is no token"):
        TokenSampler(settings(**wrong), 10)


NUMBERS = ("repetition_penalty", "presence_penalty", "frequency_penalty", "temperature", "top_p", "min_p", "typical_p")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
@pytest.mark.parametrize("name", [*NUMBERS, "logit_bias"])
def test_what_is_no_number_is_refused_with_a_sentence(name: str, value: str) -> None:
    wrong = f"{{ 3 = {value} }}" if name == "logit_bias" else value
    with pytest.raises(RecipeError, match=rf"sample\.{name} = .* is not a"):
        load(overrides=[f"sample.{name}={wrong}"])
    spelled = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity", "1e999": "1e999"}[value]
    line = f'{{"type":"generate","id":1,"checkpoint":"x","prompt":"","sampling":{{"{name}":{spelled}}}}}'
    with pytest.raises(msgspec.DecodeError):
        decode_request(line.encode())


def test_links_keep_what_those_of_transformers_keep() -> None:
    pytest.importorskip("transformers")
    from transformers.generation import logits_process as theirs

    generator = torch.Generator().manual_seed(1)
    prompt = torch.randint(1000, (1, 30), generator=generator)
    for _ in range(3):
        row = torch.randn(1000, generator=generator) * 3
        for ours, other in (
            (samplers.top_k(row, 40), theirs.TopKLogitsWarper(40)),
            (samplers.top_p(row, 0.9), theirs.TopPLogitsWarper(0.9)),
            (samplers.min_p(row, 0.02), theirs.MinPLogitsWarper(0.02)),
            (samplers.typical_p(row, 0.7), theirs.TypicalLogitsWarper(0.7)),
        ):
            kept = other(prompt, row[None])[0].isfinite().nonzero()[:, 0]
            assert sorted(ours.tolist()) == kept.tolist()
        penalised = theirs.RepetitionPenaltyLogitsProcessor(1.3)(prompt, row[None].clone())[0]
        assert torch.allclose(samplers.apply_repetition_penalty(row, prompt[0].unique(), 1.3), penalised)


# --- texts ---


def model() -> GPT:
    torch.manual_seed(1)
    return GPT(Model(n_layer=1, n_head=2, n_embd=16, block_size=8), 20)


def test_a_seed_decides_the_text_and_the_models_own_random_state_is_left_alone() -> None:
    model_ = model()
    before = torch.get_rng_state()
    first = ids(model_, [1, 2], settings())
    assert first == ids(model_, [1, 2], settings())
    assert first != ids(model_, [1, 2], settings(seed=6))
    assert torch.equal(before, torch.get_rng_state())
    assert model_.training


def test_generation_goes_past_the_context_and_sees_only_its_tail() -> None:
    long = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]
    assert ids(model(), long, settings()) == ids(model(), long[-8:], settings())


def test_temperature_zero_takes_the_likeliest_and_stop_ends_it() -> None:
    greedy = ids(model(), [1], settings(temperature=0.0))
    assert greedy == ids(model(), [1], settings(temperature=0.0, seed=99))
    assert ids(model(), [1], settings(temperature=0.0, stop_tokens=(greedy[0],))) == []


def test_output_that_is_not_finite_is_named_not_drawn_from() -> None:
    broken = model()
    with torch.no_grad():
        broken.lm_head.weight[3] = torch.nan
    with pytest.raises(LogitsError, match="not finite"):
        ids(broken, [1], settings())
