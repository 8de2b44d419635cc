"""Inspection of a text that was generated: the same tokens, the distribution they were sampled from, branches, its
context."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.recipe.sampling import Sampling
from core.sample import samplers
from core.sample.handlers import MaskedLossesError, handle
from core.sample.inspect.prompt import InspectRequestError, inspect_context, inspect_prompt
from core.sample.inspect_protocol import (
    AppendedToken,
    AttentionHead,
    AttentionWeights,
    InspectOptions,
    LastLogits,
    LensRow,
    LogitLens,
    LogitsMatrix,
    PromptTokens,
    SampledToken,
    TokenProbabilities,
)
from core.sample.logits_processors import PROCESSORS
from core.sample.models import ModelCache
from core.sample.protocol import (
    AnyModelRequest,
    AnyReply,
    DenoisingState,
    Generate,
    InspectContext,
    Inspected,
    InspectPrompt,
    Score,
    ScoreResult,
    TextDelta,
    TokenLosses,
    decode_reply,
    encode,
)
from tests.core.generating import generate_ids, settings
from tests.core.inference_process import save
from tests.core.inspecting import BYTES, TEXT, inspect_results, logits_at, model_of, of_type, softmax

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "greedy": {"temperature": 0},
    "greedy after a bias": {"temperature": 0, "logit_bias": {97: 3.0}},
    "logit_bias": {"logit_bias": {97: 2.0, 98: -100.0}},
    "repetition_penalty": {"repetition_penalty": 1.5},
    "presence_penalty": {"presence_penalty": 1.0},
    "frequency_penalty": {"frequency_penalty": 0.7},
    "temperature": {"temperature": 0.6},
    "top_k": {"top_k": 9},
    "top_p": {"top_p": 0.7},
    "min_p": {"min_p": 0.1},
    "typical_p": {"typical_p": 0.8},
    "all": {
        "logit_bias": {97: 1.0},
        "repetition_penalty": 1.2,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.3,
        "temperature": 0.9,
        "top_k": 100,
        "top_p": 0.95,
        "min_p": 0.01,
        "typical_p": 0.97,
    },
}


def test_every_processor_has_a_case_here() -> None:
    assert {processor.setting for processor in PROCESSORS} <= SETTINGS.keys()


@pytest.mark.parametrize("name", SETTINGS)
def test_inspecting_again_shows_the_tokens_and_the_distributions_of_the_sampler(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a context of 16, so that it is full and read again on the way."""
    model, sampling = model_of(), settings(tokens=14, **SETTINGS[name])
    sampled_from: list[Tensor] = []
    sample_index = samplers.sample_index

    def recorded(logits: Tensor, generator: torch.Generator) -> int:
        sampled_from.append(torch.softmax(logits, -1))
        return sample_index(logits, generator)

    monkeypatch.setattr(samplers, "sample_index", recorded)
    generated = generate_ids(model, TEXT, sampling)
    by_generation, sampled_from = sampled_from, []
    results = inspect_results(model, sampling=sampling, candidates=100)
    assert [result.token.id for result in of_type(SampledToken, results)] == generated
    if sampling.temperature == 0:
        assert not sampled_from
        return
    assert all(map(torch.equal, by_generation, sampled_from))
    for result, distribution in zip(of_type(TokenProbabilities, results), by_generation, strict=True):
        shown = sorted(
            (c.probabilities[-1] for c in result.candidates if c.probabilities[-1] is not None), reverse=True
        )
        assert shown[:20] == distribution.sort(descending=True).values.tolist()[: len(shown[:20])]


@pytest.mark.parametrize("name", SETTINGS)
def test_the_random_numbers_shown_give_the_token(name: str) -> None:
    results = inspect_results(model_of(), sampling=settings(tokens=12, **SETTINGS[name]), candidates=100)
    for probabilities, sampled in zip(
        of_type(TokenProbabilities, results), of_type(SampledToken, results), strict=True
    ):
        ratios = {
            each.token.id: (each.probabilities[-1] or 0.0) / each.random
            for each in probabilities.candidates
            if each.random is not None
        }
        if "greedy" in name:
            assert not ratios
        else:
            assert max(ratios, key=ratios.__getitem__) == sampled.token.id


def test_forced_tokens_are_taken_and_the_random_numbers_stay_those_of_the_seed() -> None:
    model, sampling = model_of(), settings(tokens=10, top_k=20)
    generated = generate_ids(model, TEXT, sampling)
    same = _inspected(model, sampling, tuple(generated[:5]))
    assert [each.token.id for each in of_type(SampledToken, same)] == generated
    assert all(each.instead_of is None for each in of_type(SampledToken, same))
    assert same == inspect_results(model, sampling=sampling)

    other = (generated[3] + 1) % 256
    branch = of_type(SampledToken, _inspected(model, sampling, (*generated[:3], other)))
    assert [each.token.id for each in branch[:4]] == [*generated[:3], other]
    assert branch[3].instead_of is not None and branch[3].instead_of.id == generated[3]
    assert all(each.instead_of is None for each in (*branch[:3], *branch[4:]))
    with pytest.raises(InspectRequestError, match="no token 257"):
        _inspected(model, sampling, (257,))


def test_results_may_begin_with_a_later_token() -> None:
    model, sampling = model_of(), settings(tokens=9, repetition_penalty=1.3)
    whole, part = inspect_results(model, sampling=sampling), inspect_results(model, sampling=sampling, first_token=6)
    assert [each.step for each in of_type(SampledToken, part)] == [6, 7, 8, 9]
    for kind in (LastLogits, TokenProbabilities, SampledToken, AppendedToken):
        assert of_type(kind, part) == of_type(kind, whole)[5:]


def _inspected(model: Any, sampling: Sampling, forced: tuple[int, ...]) -> list[Any]:
    results = inspect_prompt(model, BYTES, TEXT, sampling, InspectOptions(), forced=forced)
    return [result for result in results if result is not None]


def test_a_context_has_outputs_lens_and_attention_of_its_last_positions() -> None:
    model = model_of()
    options = InspectOptions(logit_lens=True, attention=(AttentionHead(1), AttentionHead(3, 2)), attention_positions=5)
    results = [each for each in inspect_context(model, BYTES, TEXT, options) if each is not None]
    (tokens,) = of_type(PromptTokens, results)
    assert [token.id for token in tokens.tokens] == TEXT
    (outputs,) = of_type(LogitsMatrix, results)
    assert outputs.positions == len(TEXT)
    assert [(each.layer, each.head) for each in of_type(AttentionWeights, results)] == [
        *((1, n) for n in range(1, 5)),
        (3, 2),
    ]
    lens = of_type(LensRow, results)
    assert [(row.layer, row.first, len(row.predictions)) for row in lens] == [(n, 7, 5) for n in range(4)]
    single = of_type(LogitLens, inspect_results(model, logit_lens=True))
    for row, one in zip(lens, single, strict=True):
        last = row.predictions[-1]
        assert last is not None and last.token == one.tokens[0].token
        assert last.probability == pytest.approx(one.tokens[0].probability, rel=1e-5)
    for index, predicted in enumerate(lens[-1].predictions):
        expected = softmax(logits_at(model, TEXT[: 7 + index]))
        assert predicted is not None and predicted.probability == pytest.approx(max(expected), rel=1e-4)


def replies(request: AnyModelRequest) -> list[AnyReply]:
    return [decode_reply(encode(reply)) for reply in handle(request, ModelCache()) if reply is not None]


def results_of(request: AnyModelRequest) -> Iterator[Any]:
    return (reply.result for reply in replies(request) if isinstance(reply, Inspected))


def test_the_context_of_each_token_is_the_one_it_was_generated_from(tmp_path: Path) -> None:
    """The model has a context of 16."""
    checkpoint = str(save(tmp_path / "model"))
    sampling = Sampling(tokens=30, logit_bias={256: -1000})
    steps = list(results_of(InspectPrompt(id=1, checkpoint=checkpoint, prompt="hello", sampling=sampling)))
    last = [step for step in steps if isinstance(step, LastLogits)]
    ids = [step.token.id for step in steps if isinstance(step, SampledToken)]
    for number in (1, 8, 12, 13, 21, 30):
        request = InspectContext(
            id=1,
            checkpoint=checkpoint,
            prompt="hello",
            generated=tuple(ids[: number - 1]),
            positions=last[number - 1].position,
        )
        (outputs,) = (each for each in results_of(request) if isinstance(each, LogitsMatrix))
        assert outputs.positions == last[number - 1].position
        assert outputs.rows[-1].logits == pytest.approx(last[number - 1].logits, abs=1e-4)


def test_the_loss_of_each_token_adds_up_to_the_loss_of_the_text(tmp_path: Path) -> None:
    checkpoint, text = str(save(tmp_path / "model")), "the quick brown fox jumps over the lazy dog"
    each = replies(Score(id=1, checkpoint=checkpoint, text=text, each_token=True))
    (whole,) = (
        reply for reply in replies(Score(id=1, checkpoint=checkpoint, text=text)) if isinstance(reply, ScoreResult)
    )
    losses = [reply for reply in each if isinstance(reply, TokenLosses)]
    assert "".join(token.text for reply in losses for token in reply.tokens) == text
    assert math.fsum(nats for reply in losses for nats in reply.nats) == pytest.approx(whole.nats, rel=1e-5)


def test_a_masked_model_reports_the_tokens_each_denoising_step_unmasked(tmp_path: Path) -> None:
    from core.recipe.schema import Model
    from tests.byte_models import save_untrained

    folder = tmp_path / "masked"
    folder.mkdir()
    shape = Model(objective="masked", n_layer=1, n_head=2, n_embd=16, block_size=16, zero_init=False)
    save_untrained(folder, shape)
    for order in ("random", "confidence", "entropy"):
        request = Generate(
            id=1,
            checkpoint=str(folder),
            prompt="abc",
            sampling=Sampling(tokens=20, logit_bias={256: -1000}),
            order=order,
            denoising_steps=4,
            denoising_states=True,
        )
        found = replies(request)
        unmasked = [each for reply in found if isinstance(reply, DenoisingState) for each in reply.unmasked]
        assert sorted(each.position for each in unmasked) == list(range(1, 21))
        assert all(0 < each.probability <= 1 for each in unmasked)
        content = b"".join(bytes.fromhex(each.token.bytes) for each in sorted(unmasked, key=lambda each: each.position))
        text = "".join(reply.text for reply in found if isinstance(reply, TextDelta))
        assert content.decode("utf-8", "replace") == text
    with pytest.raises(MaskedLossesError):
        replies(Score(id=1, checkpoint=str(folder), text="abc", each_token=True))
