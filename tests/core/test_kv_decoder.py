"""KVDecoder gives the logits of a forward pass over the whole text."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from core.model.gpt import GPT
from core.model.inference import inference
from core.recipe.sampling import Sampling
from core.recipe.schema import Model
from core.sample.kv_decoder import KVDecoder, tokens_kept_when_full
from core.sample.samplers import LogitsError
from tests.core.generating import generate_ids, settings

SHAPES = {
    "learned": Model(n_layer=2, n_head=4, n_embd=32, block_size=48, positions="learned", norm="layer", bias=True,
                     activation="gelu", qk_norm=False, zero_init=False),
    "rotary": Model(n_layer=2, n_head=4, n_embd=32, block_size=48, zero_init=False),
    "grouped": Model(n_layer=2, n_head=4, n_kv_head=2, n_embd=32, block_size=48, zero_init=False, activation="swiglu"),
}  # fmt: skip

each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def make_model(shape: Model, vocabulary: int = 50) -> GPT:
    torch.manual_seed(2)
    return GPT(shape, vocabulary)


def logits_without_cache(model: GPT, text: list[int], prompt: int) -> Tensor:
    """Logits (N, vocabulary) after the prompt, the first `prompt` ids of `text`, and after each later id.

    When the context is full, its newer half starts a new one. Each takes one pass, since the model is causal.
    """
    context = model.config.block_size
    start = max(0, prompt - context)
    starts = {prompt: start}
    for end in range(prompt, len(text)):
        if end - start == context:
            start = end + 1 - tokens_kept_when_full(context)
        starts[end + 1] = start
    rows: list[Tensor] = []
    with inference(model):
        for start in dict.fromkeys(starts.values()):
            ends = [end for end, first in starts.items() if first == start]
            logits = model(torch.tensor([text[start : ends[-1]]]))[0]
            rows += [logits[end - start - 1] for end in ends]
    return torch.stack(rows)


@pytest.mark.heavy
@each_shape
@pytest.mark.parametrize("prompt", [1, 5, 33, 47, 48, 60])
@pytest.mark.parametrize("chunk", [32, 128])
def test_logits_equal_those_without_a_cache_also_past_the_context(
    shape: Model, prompt: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.sample.kv_decoder.PREFILL_CHUNK", chunk)  # a context of 48 takes two chunks, or one
    model = make_model(shape)
    text = torch.randint(50, (prompt,), generator=torch.Generator().manual_seed(prompt)).tolist()
    decoder = KVDecoder(model, text)
    computed = [decoder.logits[0].clone()]
    for number in range(100):
        token = (number * 7 + int(computed[-1].argmax())) % 50
        text.append(token)
        decoder.append([token])
        computed.append(decoder.logits[0].clone())
    expected = logits_without_cache(model, text, prompt)
    assert torch.allclose(torch.stack(computed), expected, atol=1e-5)
    assert torch.equal(torch.stack(computed).argmax(-1), expected.argmax(-1))


@pytest.mark.heavy
@each_shape
def test_a_batch_decodes_like_single_texts(shape: Model) -> None:
    model, prompt = make_model(shape), [3, 1, 4, 1, 5]
    batch = KVDecoder(model, prompt)
    batch.select([0, 0, 0])
    single = [KVDecoder(model, prompt) for _ in range(3)]
    for number in range(60):
        tokens = [(number * factor) % 50 for factor in (1, 3, 7)]
        batch.append(tokens)
        for row, decoder in enumerate(single):
            decoder.append([tokens[row]])
            assert torch.allclose(batch.logits[row], decoder.logits[0], atol=1e-5)
    batch.select([2, 0])
    batch.append([1, 2])
    for row, (decoder, token) in enumerate(zip((single[2], single[0]), (1, 2), strict=True)):
        decoder.append([token])
        assert torch.allclose(batch.logits[row], decoder.logits[0], atol=1e-5)


def test_prefill_yields_between_chunks() -> None:
    shape = Model(n_layer=1, n_head=2, n_embd=16, block_size=400, zero_init=False)
    model, text = make_model(shape), [token % 50 for token in range(390)]
    prefill = KVDecoder.prefill(model, text)
    chunks = 0
    while True:
        try:
            next(prefill)
            chunks += 1
        except StopIteration as end:
            decoder = end.value
            break
    assert chunks == 3
    assert torch.allclose(decoder.logits[0], logits_without_cache(model, text, 390)[-1], atol=1e-5)


@pytest.mark.parametrize("block_size", [1, 2, 3])
def test_contexts_of_one_to_three_tokens_work(block_size: int) -> None:
    shape = Model(n_layer=1, n_head=1, n_embd=8, block_size=block_size, zero_init=False)
    model, text = make_model(shape), [1]
    decoder = KVDecoder(model, text)
    for token in range(10):
        assert torch.allclose(decoder.logits[0], logits_without_cache(model, text, 1)[-1], atol=1e-5)
        text.append(token)
        decoder.append([token])


@pytest.mark.heavy
@each_shape
@pytest.mark.parametrize("sampling", [settings(tokens=80, temperature=0.0), settings(tokens=80, temperature=1.5)])
def test_generating_several_texts_equals_generating_each_with_its_seed(shape: Model, sampling: Sampling) -> None:
    from msgspec.structs import replace

    from core.sample.generate import generate

    model = make_model(shape)
    batch_texts: list[list[int]] = [[], [], [], []]
    for text, token in generate(model, [3, 1, 4], sampling, texts=4):
        batch_texts[text].append(token)  # type: ignore[arg-type]
    assert batch_texts == [
        generate_ids(model, [3, 1, 4], replace(sampling, seed=sampling.seed + text)) for text in range(4)
    ]
    assert all(len(text) == 80 for text in batch_texts)


def test_a_finished_text_does_not_change_the_others() -> None:
    from core.sample.generate import generate

    model = make_model(SHAPES["rotary"])
    full_texts: list[list[int]] = [[], [], []]
    for text, token in generate(model, [3], settings(tokens=60), texts=3):
        full_texts[text].append(token)  # type: ignore[arg-type]
    batch_texts: list[list[int]] = [[], [], []]
    events = generate(model, [3], settings(tokens=60), texts=3)
    finished: bool | None = None
    with pytest.raises(StopIteration):
        while True:
            text, token = events.send(finished)
            batch_texts[text].append(token)  # type: ignore[arg-type]
            finished = text == 1 and len(batch_texts[1]) == 7
    assert batch_texts == [full_texts[0], full_texts[1][:7], full_texts[2]]


def test_a_model_trained_in_bfloat16_decodes_in_float32() -> None:
    bfloat16_model, float32_model = make_model(SHAPES["grouped"]), make_model(SHAPES["grouped"])
    bfloat16_model.dtype = torch.bfloat16
    sampling = settings(tokens=80)
    assert generate_ids(bfloat16_model, [3, 1], sampling) == generate_ids(float32_model, [3, 1], sampling)
    assert bfloat16_model.dtype == torch.bfloat16


def test_non_finite_logits_raise_an_error() -> None:
    model = make_model(SHAPES["rotary"])
    with torch.no_grad():
        model.wte.weight[7] = torch.nan
    decoder = KVDecoder(model, [1])
    with pytest.raises(LogitsError, match="not finite"):
        decoder.append([7])


def test_log_probabilities_are_those_of_the_model_before_logits_processors() -> None:
    from core.sample.generate import generate
    from core.sample.score import token_losses

    model, prompt = make_model(SHAPES["rotary"]), [3, 1, 4]
    logprobs: dict[int, float] = {}
    ids: list[Any] = []
    total = 0.0
    for _, token in generate(model, prompt, settings(tokens=60, temperature=0.4, top_k=3), logprobs=logprobs):
        ids.append(token)
        total += logprobs[0]
    nats = sum(chunk.nats for chunk in token_losses(model, [*prompt, *ids], known=len(prompt)))
    assert total == pytest.approx(-nats, rel=1e-4)
