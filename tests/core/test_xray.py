"""What is seen of a model at work, each number against one that is worked out slowly and plainly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import msgspec
import pytest
import torch

from core.model.count import parameters
from core.model.gpt import GPT
from core.recipe.sampling import Precision, Sampling
from core.recipe.schema import Model
from core.sample.inspect.figures import token_info
from core.sample.inspect.prompt import InspectRequestError, inspect_prompt
from core.sample.inspect.weights import inspect_model
from core.sample.inspect_protocol import (
    MAX_PROMPT_TOKENS,
    MAX_TOKEN_BYTES,
    AnyInspectResult,
    AppendedToken,
    AttentionHead,
    AttentionWeights,
    InspectOptions,
    InspectResult,
    LastLogits,
    LogitLens,
    LogitsMatrix,
    ModelPart,
    ModelSummary,
    PromptSurprisal,
    PromptTokens,
    SampledToken,
    TokenProbabilities,
)
from core.sample.logits_processors import SamplingSettingError
from core.sample.precision import convert_weights
from core.sample.prompts import encode_whole_prompt
from core.sample.protocol import Inspected, decode_reply, encode
from core.sample.samplers import LogitsError
from core.sample.stream import generate_text
from core.tokenize.bpe import train_bpe
from core.tokenize.vocabulary import END_OF_TEXT, Vocabulary
from tests.core.drawing import ids as drawn_ids
from tests.core.drawing import settings

BYTES = train_bpe(iter(["a"]), 257)
"""256 single bytes and an end-of-text mark."""
TEXT = list(b"abracadabra")

GPT2 = {"positions": "learned", "norm": "layer", "activation": "gelu", "qk_norm": False, "bias": True}
SHAPES: dict[str, dict[str, Any]] = {
    "modern": {"n_kv_head": 2},
    "gpt2": {**GPT2, "tie_embeddings": True},
    "rotary, not normed": {"qk_norm": False, "n_kv_head": 1, "qkv_bias": True, "activation": "swiglu"},
    "masked": {"objective": "masked", "n_kv_head": 2},
    "masked gpt2": {**GPT2, "objective": "masked", "pad_vocabulary_multiple": 64},
}
each_shape = pytest.mark.parametrize("name", SHAPES)
each_objective = pytest.mark.parametrize("name", ["modern", "masked"])

S = TypeVar("S", bound=InspectResult)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small take longer on several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def made(name: str = "modern", **other: Any) -> GPT:
    """A model whose every weight, those of norms and biases too, is at random, and large enough to matter."""
    shape = {"n_layer": 3, "n_head": 4, "n_embd": 32, "block_size": 16, "dropout": 0.5, **SHAPES[name], **other}
    torch.manual_seed(3)
    model = GPT(Model(**shape), BYTES.size).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4).add_(0.3 if parameter.dim() == 1 else 0.0)
    return model


def seen(
    model: GPT,
    prompt: Sequence[int] = TEXT,
    sampling: Sampling | None = None,
    vocabulary: Vocabulary = BYTES,
    **view: Any,
) -> list[AnyInspectResult]:
    found = inspect_prompt(model, vocabulary, prompt, sampling or settings(tokens=1), InspectOptions(**view))
    return [sight for sight in found if sight is not None]


def of(kind: type[S], sights: Sequence[AnyInspectResult]) -> list[S]:
    return [sight for sight in sights if isinstance(sight, kind)]


def softmax(scores: Sequence[float]) -> list[float]:
    powers = [math.exp(score - max(scores)) for score in scores]
    return [power / math.fsum(powers) for power in powers]


def bits(probabilities: Sequence[float]) -> float:
    return -math.fsum(p * math.log2(p) for p in probabilities if p)


@torch.no_grad()
def scores_at(model: GPT, ids: Sequence[int], place: int = -1) -> list[float]:
    found: list[float] = model(torch.tensor([list(ids)]))[0, place].tolist()
    return found


# -- the six steps -----------------------------------------------------------------------------------------------------


def test_each_token_is_told_with_its_id_and_its_bytes() -> None:
    (tokens,) = of(PromptTokens, seen(made(), encode_whole_prompt(BYTES, "né")))
    assert [(token.id, token.kind, token.text, token.bytes) for token in tokens.tokens] == [
        (0x6E, "text", "n", "6e"),
        (0xC3, "bytes", "", "c3"),
        (0xA9, "bytes", "", "a9"),
    ]
    assert (tokens.first, tokens.seen, tokens.dropped) == (1, 3, 0)


def test_marks_gaps_hidden_places_and_endless_tokens_are_told_as_what_they_are() -> None:
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
def test_the_matrix_of_outputs_is_the_models_own_and_its_last_row_is_drawn_from(name: str) -> None:
    model = made(name)
    sights = seen(model, rows=4, columns=5)
    ids = TEXT if model.mask_token_id is None else [*TEXT, model.mask_token_id]
    (outputs,) = of(LogitsMatrix, sights)
    assert (outputs.positions, outputs.vocabulary) == (len(ids), 257)
    assert outputs.columns == (0, 1, 2, 3, 256)
    assert [row.position for row in outputs.rows] == [1, 2, len(ids) - 1, len(ids)]
    for row in outputs.rows:
        whole = scores_at(model, ids, row.position - 1)
        assert row.token.id == ids[row.position - 1]
        assert row.logits == pytest.approx([whole[column] for column in outputs.columns], abs=1e-4)
    (last,) = of(LastLogits, sights)
    whole = scores_at(model, ids)
    mean = math.fsum(whole) / 257
    assert last.logits == pytest.approx(outputs.rows[-1].logits, abs=1e-4)
    assert (last.lowest, last.highest, last.mean) == pytest.approx((min(whole), max(whole), mean), abs=1e-4)
    assert last.deviation == pytest.approx(math.sqrt(math.fsum((one - mean) ** 2 for one in whole) / 257), abs=1e-4)


def slow_chain(scores: list[float], sampling: Sampling, text: Sequence[int]) -> dict[str, dict[int, float]]:
    """Probabilities behind each link by id, those left out that are no longer in the draw."""
    scores = list(scores)
    links = {"softmax": dict(enumerate(softmax(scores)))}
    for token, bias in sampling.logit_bias.items():
        scores[token] += bias
    links["logit_bias"] = dict(enumerate(softmax(scores)))
    for token in set(text):
        scores[token] *= sampling.repetition_penalty if scores[token] < 0 else 1 / sampling.repetition_penalty
    links["repetition_penalty"] = dict(enumerate(softmax(scores)))
    left = links["temperature"] = dict(enumerate(softmax([score / sampling.temperature for score in scores])))

    def kept(tokens: Sequence[int]) -> dict[int, float]:
        total = math.fsum(left[token] for token in tokens)
        return {token: left[token] / total for token in tokens}

    order = sorted(left, key=lambda token: -left[token])
    left = links["top_k"] = kept(order[: sampling.top_k])
    nucleus: list[int] = []
    while math.fsum(left[token] for token in nucleus) < sampling.top_p:
        nucleus.append(order[len(nucleus)])
    left = links["top_p"] = kept(nucleus)
    links["min_p"] = kept([token for token in nucleus if left[token] >= sampling.min_p * max(left.values())])
    return links


def test_each_sampler_is_told_with_what_it_leaves() -> None:
    model = made()
    sampling = settings(
        tokens=1, logit_bias={7: 1.5}, repetition_penalty=1.3, temperature=3.0, top_k=60, top_p=0.8, min_p=0.1
    )
    sights = seen(model, sampling=sampling, candidates=100)
    (told_all,), (choice,) = of(TokenProbabilities, sights), of(SampledToken, sights)
    raw = scores_at(model, TEXT)
    slow = slow_chain(raw, sampling, TEXT)
    assert [link.name for link in told_all.processors] == list(slow)
    assert [link.remaining for link in told_all.processors] == [len(left) for left in slow.values()]
    for at, (link, left) in enumerate(zip(told_all.processors, slow.values(), strict=True)):
        assert link.entropy == pytest.approx(bits(list(left.values())), abs=1e-3)
        for candidate in told_all.candidates:
            probability = candidate.probabilities[at]
            assert (probability is None) == (candidate.token.id not in left)
            assert probability is None or probability == pytest.approx(left[candidate.token.id], abs=1e-5)
    last = [candidate.probabilities[-1] for candidate in told_all.candidates]
    assert math.fsum(one or 0.0 for one in last) == pytest.approx(1, abs=1e-5)
    assert last == sorted(last, key=lambda one: -(one if one is not None else -1.0))
    assert [candidate.logit for candidate in told_all.candidates] == pytest.approx(
        [raw[candidate.token.id] for candidate in told_all.candidates], abs=1e-4
    )
    assert choice.probability == pytest.approx(slow["min_p"][choice.token.id], abs=1e-5)
    assert choice.before == pytest.approx(slow["softmax"][choice.token.id], abs=1e-5)
    assert choice.surprise == pytest.approx(-math.log2(choice.before), abs=1e-4)
    assert choice.rank == 1 + sum(score > raw[choice.token.id] for score in raw)


def test_without_temperature_the_likeliest_is_all_that_is_left() -> None:
    sights = seen(made(), sampling=settings(tokens=1, temperature=0, top_k=5))
    (told_all,), (choice,) = of(TokenProbabilities, sights), of(SampledToken, sights)
    assert [(link.name, link.value, link.remaining) for link in told_all.processors] == [
        ("softmax", None, 257),
        ("temperature", 0.0, 1),
    ]
    assert (choice.rank, choice.probability) == (1, 1.0)
    assert [candidate.probabilities[-1] for candidate in told_all.candidates] == [1.0, *[None] * 7]


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"temperature": 0.0},
        {"temperature": 2.0, "top_k": 40, "top_p": 0.9, "frequency_penalty": 1.0, "presence_penalty": 0.5},
        {"typical_p": 0.5, "repetition_penalty": 1.5, "logit_bias": {3: 5.0}},
    ],
)
def test_what_is_chosen_is_what_generation_draws_past_the_contexts_edge_too(other: dict[str, Any]) -> None:
    never_ending = {BYTES.end_of_text: -1000.0}
    model, sampling = made(), settings(tokens=18, **{**other, "logit_bias": never_ending | other.get("logit_bias", {})})
    sights = seen(model, sampling=sampling)
    appended = of(AppendedToken, sights)
    found = drawn_ids(model, TEXT, sampling)
    assert [choice.token.id for choice in of(SampledToken, sights)] == found
    assert [one.length for one in appended] == list(range(12, 30))
    assert [one.position for one in of(LastLogits, sights)] == [*range(11, 17), *range(8, 17), 8, 9, 10]
    assert "".join(one.text for one in appended) == generate_text(model, BYTES, bytes(TEXT).decode(), sampling)
    assert [one.reason for one in appended] == [None] * 17 + ["length"]


def test_a_masked_model_uncovers_the_one_place_as_generation_does() -> None:
    model = made("masked")
    for seed in range(5):
        sampling = settings(tokens=1, seed=seed)
        assert [one.token.id for one in of(SampledToken, seen(model, sampling=sampling))] == drawn_ids(
            model, TEXT, sampling
        )
    never_ending = settings(tokens=20, logit_bias={BYTES.end_of_text: -1000.0})
    assert len(of(SampledToken, seen(model, sampling=never_ending))) == 20  # more than its context


def test_the_text_ends_where_generation_ends_it() -> None:
    model, sampling = made(), settings(tokens=30)
    found = drawn_ids(model, TEXT, sampling)
    ended = seen(model, sampling=msgspec.structs.replace(sampling, stop_tokens=(found[3],)))
    assert [one.reason for one in of(AppendedToken, ended)][-1] == "end"
    assert len(of(AppendedToken, ended)) == found.index(found[3]) + 1
    whole = generate_text(model, BYTES, bytes(TEXT).decode(), sampling)
    place = next(at for at in range(8, len(whole)) if whole[at].isascii())
    stopping = msgspec.structs.replace(sampling, stop=(whole[place : place + 1],))
    appended = of(AppendedToken, seen(model, sampling=stopping))
    assert appended[-1].reason == "stop"
    assert "".join(one.text for one in appended) == generate_text(model, BYTES, bytes(TEXT).decode(), stopping)


# -- beyond the figure -------------------------------------------------------------------------------------------------


def turned(pairs: list[complex], place: int) -> list[complex]:
    angles = [place * math.pow(10_000, -at / len(pairs)) for at in range(len(pairs))]
    return [pair * complex(math.cos(angle), math.sin(angle)) for pair, angle in zip(pairs, angles, strict=True)]


@torch.no_grad()
def slow_attention(model: GPT, ids: Sequence[int], layer: int) -> list[list[list[float]]]:
    """[head][query][key], number by number."""
    shape, x = model.config, model.wte(torch.tensor(list(ids)))
    if model.wpe is not None:
        x = x + model.wpe.weight[: len(ids)]
    for before in list(model.h)[: layer - 1]:
        x = before(x[None])[0]
    block: Any = model.h[layer - 1]
    size, heads, groups = shape.n_embd // shape.n_head, shape.n_head, shape.n_kv_head or shape.n_head
    rows = block.attn.c_attn(block.ln_1(x)).tolist()

    def vector(place: int, number: int, row: list[float]) -> list[complex]:
        found = row[number * size : (number + 1) * size]
        if shape.qk_norm:
            found = [one / math.sqrt(math.fsum(two * two for two in found) / size + 1e-6) for one in found]
        pairs = [complex(a, b) for a, b in zip(found[: size // 2], found[size // 2 :], strict=True)]
        return turned(pairs, place) if shape.positions == "rotary" else pairs

    weights: list[list[list[float]]] = []
    for head in range(heads):
        queries = [vector(place, head, row) for place, row in enumerate(rows)]
        keys = [vector(place, heads + head // (heads // groups), row) for place, row in enumerate(rows)]
        weights.append([])
        for place, query in enumerate(queries):
            sees = keys[: place + 1] if model.mask_token_id is None else keys
            scores = [
                math.fsum((a * b.conjugate()).real for a, b in zip(query, key, strict=True)) / math.sqrt(size)
                for key in sees
            ]
            weights[head].append(softmax(scores) + [0.0] * (len(keys) - len(sees)))
    return weights


@each_shape
def test_attention_is_softmax_of_queries_and_keys_in_every_layer_and_head(name: str) -> None:
    model = made(name)
    every = tuple(AttentionHead(layer) for layer in (1, 2, 3))
    heads = of(AttentionWeights, seen(model, attention=every, attention_positions=128))
    assert [(head.layer, head.head) for head in heads] == [
        (layer, head) for layer in (1, 2, 3) for head in (1, 2, 3, 4)
    ]
    ids = TEXT if model.mask_token_id is None else [*TEXT, model.mask_token_id]
    slow = {layer: slow_attention(model, ids, layer) for layer in (1, 2, 3)}
    for head in heads:
        assert (head.first, set(head.before)) == (1, {0.0})
        for row, expected in zip(head.weights, slow[head.layer][head.head - 1], strict=True):
            assert math.fsum(one or 0.0 for one in row) == pytest.approx(1, abs=1e-4)
            assert row == pytest.approx(expected, abs=1e-5)


def test_of_a_long_text_the_last_places_are_told_and_what_lies_before_them_in_one_number() -> None:
    model = made()
    (head,) = of(AttentionWeights, seen(model, attention=(AttentionHead(2, 3),), attention_positions=4))
    slow = slow_attention(model, TEXT, 2)[2]
    assert head.first == 8
    assert len(head.weights) == len(head.before) == 4
    for row, before, expected in zip(head.weights, head.before, slow[-4:], strict=True):
        assert row == pytest.approx(expected[-4:], abs=1e-5)
        assert before == pytest.approx(math.fsum(expected[:-4]), abs=1e-5)


def test_later_tokens_come_with_their_own_row_of_attention() -> None:
    model = made()
    sights = seen(model, sampling=settings(tokens=3), attention=(AttentionHead(1, 1),))
    heads, choices = of(AttentionWeights, sights), of(SampledToken, sights)
    text = [*TEXT, *(choice.token.id for choice in choices)]
    assert [len(head.weights) for head in heads] == [11, 1, 1]
    assert heads[2].weights[0] == pytest.approx(slow_attention(model, text[:13], 1)[0][-1], abs=1e-5)


@each_shape
def test_the_lens_says_of_each_layer_what_a_model_that_ends_there_says(name: str) -> None:
    model = made(name)
    sights = seen(model, logit_lens=True, lens_tokens=2)
    (choice,) = of(SampledToken, sights)
    ids = TEXT if model.mask_token_id is None else [*TEXT, model.mask_token_id]
    lenses = of(LogitLens, sights)
    assert [lens.layer for lens in lenses] == [0, 1, 2, 3]
    for lens in lenses:
        shorter = made(name)
        shorter.load_state_dict(model.state_dict())
        del shorter.h[lens.layer :]
        scores = scores_at(shorter, ids)
        probabilities = softmax(scores)
        order = sorted(range(257), key=lambda token: -scores[token])
        assert [guess.token.id for guess in lens.tokens] == order[:2]
        assert [guess.probability for guess in lens.tokens] == pytest.approx(
            [probabilities[token] for token in order[:2]], abs=1e-5
        )
        assert lens.rank == 1 + sum(score > scores[choice.token.id] for score in scores)
        assert lens.probability == pytest.approx(probabilities[choice.token.id], abs=1e-5)
    assert lenses[-1].rank == choice.rank
    assert lenses[-1].probability == pytest.approx(choice.before, abs=1e-5)


@each_objective
def test_surprise_is_what_the_model_expected_of_each_token(name: str) -> None:
    model = made(name)
    found = [one for message in of(PromptSurprisal, seen(model, surprisal=True)) for one in message.tokens]
    assert [(one.position, one.token.id) for one in found] == list(enumerate(TEXT, 1))
    if model.mask_token_id is None:
        assert (found[0].bits, found[0].rank, found[0].entropy, found[0].predicted) == (None, None, None, None)
    for one in found[1 if model.mask_token_id is None else 0 :]:
        at = one.position - 1
        if model.mask_token_id is None:
            scores = scores_at(model, TEXT[:at])
        else:
            scores = scores_at(model, [*TEXT[:at], model.mask_token_id, *TEXT[at + 1 :]], at)
        probabilities = softmax(scores)
        assert one.bits == pytest.approx(-math.log2(probabilities[TEXT[at]]), abs=1e-4)
        assert one.rank == 1 + sum(score > scores[TEXT[at]] for score in scores)
        assert one.entropy == pytest.approx(bits(probabilities), abs=1e-4)
        assert one.predicted is not None
        assert one.predicted.token.id == max(range(257), key=scores.__getitem__)
        assert one.predicted.probability == pytest.approx(max(probabilities), abs=1e-5)


# -- the model's own picture -------------------------------------------------------------------------------------------


@each_shape
def test_the_picture_has_every_weight_once_and_adds_up(name: str) -> None:
    model = made(name)
    shape, *parts = inspect_model(model)
    assert isinstance(shape, ModelSummary)
    assert shape.parameters == parameters(model.config, BYTES.size)
    weights = [weight for part in parts if isinstance(part, ModelPart) for weight in part.weights]
    assert sum(weight.parameters for weight in weights) == shape.parameters.total == model.parameter_count()
    own = dict(model.named_parameters(remove_duplicate=False))
    assert {weight.name for weight in weights} == set(own)
    for weight in weights:
        assert weight.size == tuple(own[weight.name].shape)
        assert weight.dtype == "float32"
        if weight.tied_to:
            assert (weight.name, weight.tied_to, weight.parameters) == ("lm_head.weight", "wte.weight", 0)
            continue
        squares = math.fsum(one * one for one in own[weight.name].flatten().tolist())
        assert weight.norm == pytest.approx(math.sqrt(squares), rel=1e-6)
        assert weight.rms == pytest.approx(math.sqrt(squares / own[weight.name].numel()), rel=1e-6)
    assert any(weight.tied_to for weight in weights) == model.config.tie_embeddings
    assert [(part.name, part.layer) for part in parts if isinstance(part, ModelPart)] == [
        ("embedding", 0),
        *(("block", layer) for layer in (1, 2, 3)),
        ("output", 4),
    ]


@pytest.mark.parametrize("numbers", ["bfloat16", "float16", "int8"])
def test_a_model_whose_weights_are_kept_in_other_numbers_is_looked_at_all_the_same(numbers: Precision) -> None:
    model = made("modern")
    convert_weights(model, numbers, parameters=0)
    sampling = settings(tokens=8, logit_bias={BYTES.end_of_text: -1000.0})
    sights = seen(model, sampling=sampling, logit_lens=True, surprisal=True, attention=(AttentionHead(3),))
    assert [one.token.id for one in of(SampledToken, sights)] == drawn_ids(model, TEXT, sampling)
    last = [lens for lens in of(LogitLens, sights) if lens.layer == 3]
    for lens, choice in zip(last, of(SampledToken, sights), strict=True):
        assert lens.probability == pytest.approx(choice.before, rel=0.2, abs=1e-3)
    weights = [weight for part in inspect_model(model) if isinstance(part, ModelPart) for weight in part.weights]
    assert sum(weight.parameters for weight in weights) == model.parameter_count()
    products = {weight.dtype for weight in weights if weight.name.endswith(("c_fc.weight", "c_proj.weight"))}
    assert products == {"packed" if numbers == "int8" else numbers}


# -- what may not happen -----------------------------------------------------------------------------------------------


@each_objective
def test_looking_changes_nothing_even_when_it_is_broken_off(name: str) -> None:
    model = made(name).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    everything = InspectOptions(logit_lens=True, surprisal=True, attention=(AttentionHead(1), AttentionHead(3, 1)))
    steps = sum(1 for _ in inspect_prompt(model, BYTES, TEXT, settings(tokens=2), everything))
    for broken_off in range(1, steps, 5):
        sights = inspect_prompt(model, BYTES, TEXT, settings(tokens=2), everything)
        for _ in range(broken_off):
            next(sights)
            assert model.training
            assert not torch.is_inference_mode_enabled()
        sights.close()  # type: ignore[attr-defined]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_dropout_plays_no_part() -> None:
    assert seen(made().train(), logit_lens=True, surprisal=True) == seen(made().eval(), logit_lens=True, surprisal=True)


@each_objective
def test_a_model_that_says_nothing_finite_is_shown_as_far_as_it_can_be(name: str) -> None:
    model = made(name)
    with torch.no_grad():
        model.ln_f.weight[0] = math.nan
        model.get_parameter("h.0.ln_1.weight")[0] = math.inf
    sights = inspect_prompt(model, BYTES, TEXT, settings(tokens=1), InspectOptions(surprisal=True, logit_lens=True))
    assert isinstance(next(sights), PromptTokens)
    outputs = next(sights)
    assert isinstance(outputs, LogitsMatrix)
    assert {score for row in outputs.rows for score in row.logits} == {None}
    assert decode_reply(encode(Inspected(id=1, result=outputs))) == Inspected(id=1, result=outputs)
    with pytest.raises(LogitsError):
        for sight in sights:
            assert isinstance(sight, PromptSurprisal)
            assert {one.bits for one in sight.tokens} == {None}
    weights = {
        weight.name: weight for part in inspect_model(model) if isinstance(part, ModelPart) for weight in part.weights
    }
    assert weights["ln_f.weight"].norm is weights["h.0.ln_1.weight"].rms is None
    assert weights["h.1.ln_1.weight"].norm is not None


@each_objective
@pytest.mark.parametrize("length", [1, 15, 16, 17, 400])
def test_of_a_prompt_longer_than_the_context_the_end_is_seen_and_the_rest_is_said(name: str, length: int) -> None:
    model = made(name)
    prompt = [index % 256 for index in range(length)]
    room = 16 if model.mask_token_id is None else 15
    sights = seen(model, prompt, surprisal=True, logit_lens=True, attention=(AttentionHead(1, 1),))
    (tokens,) = of(PromptTokens, sights)
    shown = [token.id for token in tokens.tokens if token.kind != "hidden"]
    assert shown == prompt[-room:]
    assert tokens.dropped == max(0, length - room)
    assert tokens.seen == len(shown) + (model.mask_token_id is not None)
    assert [one.token.id for message in of(PromptSurprisal, sights) for one in message.tokens] == shown


def test_a_context_of_one_token_and_an_empty_prompt_are_looked_at_like_any_other() -> None:
    for name in ("modern", "masked"):
        for prompt in ("", "a", "ab"):
            model = made(name, block_size=1)
            sights = seen(
                model, encode_whole_prompt(BYTES, prompt), settings(tokens=3), surprisal=True, logit_lens=True
            )
            assert len(of(AppendedToken, sights)) == 3


def test_what_the_model_does_not_have_is_refused() -> None:
    for head, words in ((AttentionHead(4), "no layer 4"), (AttentionHead(1, 5), "no head 5")):
        with pytest.raises(InspectRequestError, match=words):
            seen(made(), attention=(head,))
    with pytest.raises(SamplingSettingError):
        seen(made(), sampling=settings(logit_bias={1000: 1.0}))


def test_no_message_is_large_whatever_the_model() -> None:
    """Tokens as long as they may be, and all of them such that JSON has to spell them out."""
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
    sights = seen(model, prompt, sampling, vocabulary, candidates=100, rows=32, columns=32, **everything)
    sights += list(inspect_model(model))
    assert max(len(encode(Inspected(id=1, result=sight))) for sight in sights) < 500_000
    (tokens,) = of(PromptTokens, sights)
    assert (len(tokens.tokens), tokens.first, tokens.seen, tokens.dropped) == (
        MAX_PROMPT_TOKENS,
        700 - MAX_PROMPT_TOKENS + 1,
        700,
        200,
    )
