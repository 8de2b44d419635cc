"""Inspection of a prompt: no side effects, limits, refused requests."""

from __future__ import annotations

import math

import pytest
import torch

from core.model.gpt import GPT
from core.recipe.schema import Model
from core.sample.inspect.prompt import InspectRequestError, inspect_prompt
from core.sample.inspect.weights import inspect_model
from core.sample.inspect_protocol import (
    MAX_PROMPT_TOKENS,
    AppendedToken,
    AttentionHead,
    InspectOptions,
    LogitsMatrix,
    ModelPart,
    PromptSurprisal,
    PromptTokens,
)
from core.sample.logits_processors import SamplingSettingError
from core.sample.prompts import encode_whole_prompt
from core.sample.protocol import Inspected, decode_reply, encode
from core.sample.samplers import LogitsError
from core.tokenize.vocabulary import Vocabulary
from tests.core.generating import settings
from tests.core.inspecting import (
    BYTES,
    TEXT,
    each_objective,
    inspect_results,
    model_of,
    of_type,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@each_objective
def test_inspection_leaves_the_model_unchanged_even_if_cancelled(name: str) -> None:
    model = model_of(name).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    everything = InspectOptions(logit_lens=True, surprisal=True, attention=(AttentionHead(1), AttentionHead(3, 1)))
    steps = sum(1 for _ in inspect_prompt(model, BYTES, TEXT, settings(tokens=2), everything))
    for cancelled_after in range(1, steps, 5):
        results = inspect_prompt(model, BYTES, TEXT, settings(tokens=2), everything)
        for _ in range(cancelled_after):
            next(results)
            assert model.training
            assert not torch.is_inference_mode_enabled()
        results.close()  # type: ignore[attr-defined]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_dropout_is_off() -> None:
    assert inspect_results(model_of().train(), logit_lens=True, surprisal=True) == inspect_results(
        model_of().eval(), logit_lens=True, surprisal=True
    )


@each_objective
def test_non_finite_logits_are_shown_as_none_before_sampling_fails(name: str) -> None:
    model = model_of(name)
    with torch.no_grad():
        model.ln_f.weight[0] = math.nan
        model.get_parameter("h.0.ln_1.weight")[0] = math.inf
    results = inspect_prompt(model, BYTES, TEXT, settings(tokens=1), InspectOptions(surprisal=True, logit_lens=True))
    assert isinstance(next(results), PromptTokens)
    outputs = next(results)
    assert isinstance(outputs, LogitsMatrix)
    assert {logit for row in outputs.rows for logit in row.logits} == {None}
    assert decode_reply(encode(Inspected(id=1, result=outputs))) == Inspected(id=1, result=outputs)
    with pytest.raises(LogitsError):
        for result in results:
            assert isinstance(result, PromptSurprisal)
            assert {one.bits for one in result.tokens} == {None}
    weights = {
        weight.name: weight for part in inspect_model(model) if isinstance(part, ModelPart) for weight in part.weights
    }
    assert weights["ln_f.weight"].norm is weights["h.0.ln_1.weight"].rms is None
    assert weights["h.1.ln_1.weight"].norm is not None


@each_objective
@pytest.mark.parametrize("length", [1, 15, 16, 17, 400])
def test_a_long_prompt_is_truncated_and_the_dropped_tokens_are_reported(name: str, length: int) -> None:
    model = model_of(name)
    prompt = [index % 256 for index in range(length)]
    capacity = 16 if model.mask_token_id is None else 15
    results = inspect_results(model, prompt, surprisal=True, logit_lens=True, attention=(AttentionHead(1, 1),))
    (tokens,) = of_type(PromptTokens, results)
    shown = [token.id for token in tokens.tokens if token.kind != "hidden"]
    assert shown == prompt[-capacity:]
    assert tokens.dropped == max(0, length - capacity)
    assert tokens.seen == len(shown) + (model.mask_token_id is not None)
    assert [one.token.id for message in of_type(PromptSurprisal, results) for one in message.tokens] == shown


def test_a_context_of_one_token_and_an_empty_prompt_work() -> None:
    for name in ("modern", "masked"):
        for prompt in ("", "a", "ab"):
            model = model_of(name, block_size=1)
            results = inspect_results(
                model, encode_whole_prompt(BYTES, prompt), settings(tokens=3), surprisal=True, logit_lens=True
            )
            assert len(of_type(AppendedToken, results)) == 3


def test_missing_layers_heads_and_tokens_are_refused() -> None:
    for head, words in ((AttentionHead(4), "no layer 4"), (AttentionHead(1, 5), "no head 5")):
        with pytest.raises(InspectRequestError, match=words):
            inspect_results(model_of(), attention=(head,))
    with pytest.raises(SamplingSettingError):
        inspect_results(model_of(), sampling=settings(logit_bias={1000: 1.0}))


def test_message_size_is_limited() -> None:
    """Tokens of maximum length whose bytes JSON has to escape."""
    odd = [bytes([1, byte, second]) + b"\x02" * 300 for byte in range(1, 32) for second in range(1, 32)]
    vocabulary = Vocabulary("odd", "", [*(bytes([byte]) for byte in range(256)), *odd])
    torch.manual_seed(0)
    shape = Model(n_layer=1, n_head=1, n_embd=8, block_size=700, zero_init=False)
    model = GPT(shape, vocabulary.size).eval()
    prompt = [256 + index % len(odd) for index in range(900)]
    sampling = settings(tokens=2, repetition_penalty=1.1, presence_penalty=1, frequency_penalty=1, top_k=900)
    everything = {
        "logit_lens": True,
        "surprisal": True,
        "attention": (AttentionHead(1),),
        "attention_positions": 128,
        "lens_tokens": 20,
    }
    results = inspect_results(model, prompt, sampling, vocabulary, candidates=100, rows=32, columns=32, **everything)
    results += list(inspect_model(model))
    assert max(len(encode(Inspected(id=1, result=result))) for result in results) < 500_000
    (tokens,) = of_type(PromptTokens, results)
    assert (len(tokens.tokens), tokens.first, tokens.seen, tokens.dropped) == (
        MAX_PROMPT_TOKENS,
        700 - MAX_PROMPT_TOKENS + 1,
        700,
        200,
    )
