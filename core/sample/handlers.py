"""A handler for each kind of request to the inference process.

Handlers are generators of replies. They yield None after work that has no reply yet: between any two yields, other
requests get their turn, and the generator may be closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from msgspec.structs import replace

from core.errors import UsageError
from core.model.text_loss import TextLoss
from core.preprocess.steps import clean_prompt
from core.recipe.sampling import DENOISING_STEPS
from core.sample.beam_search import ensure_causal
from core.sample.diffusion import UnmaskingOptions
from core.sample.generate import prompt_limit, truncate_to_context
from core.sample.inspect.figures import token_info
from core.sample.inspect.next_token import next_token_context
from core.sample.inspect.prompt import inspect_context, inspect_prompt
from core.sample.inspect.text_tokens import open_vocabulary, tokenize_text
from core.sample.inspect.training_batch import TrainingExamples
from core.sample.inspect.weights import inspect_model
from core.sample.inspect_protocol import AppendedToken
from core.sample.models import LoadResult, ModelCache, ensure_memory
from core.sample.prompts import encode_prompt, encode_truncated
from core.sample.protocol import (
    AnyReply,
    AnyTask,
    BeamSearch,
    BestOfN,
    DenoisingState,
    Generate,
    InspectContext,
    Inspected,
    InspectModel,
    InspectPrompt,
    Loaded,
    ModelRequest,
    RankedText,
    ReadBatch,
    Score,
    ScoreBatch,
    ScoreProgress,
    ScoreResult,
    TextDelta,
    TextEnded,
    TokenizeText,
    TokenLosses,
    Tokens,
    UnmaskedToken,
)
from core.sample.rerank import beam_search_texts, best_of_n
from core.sample.score import short_context_tokens, token_losses
from core.sample.stream import DenoisingProgress, GeneratedToken, TextEnd, stream_text
from core.tokenize.vocabulary import Vocabulary, replace_surrogates

AnyReplies = Iterator[AnyReply | None]


class EmptyTextError(UsageError):
    doing = "score the text"


class MaskedLossesError(UsageError):
    doing = "score the text"


def handle(request: AnyTask, models: ModelCache) -> AnyReplies:
    """The replies to `request`, without the final Finished or Refused. Raises LlmtuiError."""
    match request:
        case Generate():
            return handle_generate(request, models)
        case BestOfN() | BeamSearch():
            return handle_ranking(request, models)
        case Score():
            return handle_score(request, models)
        case InspectPrompt():
            return handle_inspect_prompt(request, models)
        case InspectContext():
            return handle_inspect_context(request, models)
        case InspectModel():
            return handle_inspect_model(request, models)
        case TokenizeText():
            return handle_tokenize(request)
        case ReadBatch():
            return handle_read_batch(request)
        case ScoreBatch():
            return handle_score_batch(request, models)


def handle_generate(request: Generate, models: ModelCache) -> AnyReplies:
    # 16 bits are slower than float32 for several texts (`core.sample.precision`)
    several = request.precision == "auto" and request.texts > 2
    found = yield from models.get(Path(request.checkpoint), "float32" if several else request.precision)
    gpt, vocabulary = found.model.gpt, found.model.vocabulary
    ensure_memory(gpt, request.texts)
    max_tokens = gpt.config.block_size
    text, changed = clean_prompt(replace_surrogates(request.prompt), request.cleaning)
    suffix_text, suffix_changed = clean_prompt(replace_surrogates(request.suffix), request.cleaning)
    prompt, prompt_tokens = yield from encode_prompt(vocabulary, text, max_tokens)
    suffix, suffix_tokens = yield from encode_truncated(vocabulary, suffix_text, max_tokens, keep_start=True)
    unmasking = _unmasking_options(request, suffix.tolist())
    visible_prompt, visible_suffix = truncate_to_context(gpt, prompt, request.sampling.tokens, unmasking)
    loaded = _loaded(
        request,
        found,
        prompt_tokens,
        dropped=prompt_tokens - len(visible_prompt),
        changed_by=tuple(dict.fromkeys(changed + suffix_changed)),
    )
    yield replace(loaded, suffix_tokens=suffix_tokens, dropped_suffix_tokens=suffix_tokens - len(visible_suffix))
    pending = ""
    logprobs: list[list[float]] = [[] for _ in range(request.texts)]
    for event in stream_text(
        gpt,
        vocabulary,
        prompt,
        request.sampling,
        texts=request.texts,
        unmasking=unmasking,
        denoising_spans=request.denoising_states,
        with_logprobs=request.logprobs,
    ):
        if isinstance(event, GeneratedToken | TextEnd):
            pending += event.characters
        if isinstance(event, GeneratedToken) and event.logprob is not None:
            logprobs[event.text].append(event.logprob)
        # all tokens of a block of a masked model arrive together: one TextDelta for them, unless each has a figure
        each = gpt.mask_token_id is None or request.logprobs
        if pending and event is not None and (each or not isinstance(event, GeneratedToken)):
            yield TextDelta(id=request.id, index=event.text, text=pending, logprobs=tuple(logprobs[event.text]))
            pending = ""
            logprobs[event.text].clear()
        match event:
            case TextEnd():
                yield TextEnded(id=request.id, index=event.text, reason=event.reason, tokens=event.tokens)
            case DenoisingProgress() if request.denoising_states:
                yield DenoisingState(
                    id=request.id,
                    index=event.text,
                    spans=event.spans,
                    tokens=event.tokens,
                    unmasked=list(_unmasked_tokens(vocabulary, event)),
                )
            case _:
                yield None


def _unmasked_tokens(vocabulary: Vocabulary, progress: DenoisingProgress) -> Iterator[UnmaskedToken]:
    for position, probability in zip(progress.block.unmasked, progress.block.probabilities, strict=True):
        token = progress.block.ids[position]
        assert token is not None
        yield UnmaskedToken(progress.first + position + 1, token_info(vocabulary, token), probability)


def _unmasking_options(request: Generate, suffix: list[int]) -> UnmaskingOptions | None:
    """None if the request has no option of masked models."""
    if not (request.suffix or request.order or request.denoising_steps or request.denoising_states):
        return None
    return UnmaskingOptions(suffix, request.order or "random", request.denoising_steps or DENOISING_STEPS)


def handle_ranking(request: BestOfN | BeamSearch, models: ModelCache) -> AnyReplies:
    found = yield from models.get(Path(request.checkpoint), "float32")
    gpt, vocabulary = found.model.gpt, found.model.vocabulary
    ensure_causal(gpt)
    ensure_memory(gpt, request.texts)
    text, changed = clean_prompt(replace_surrogates(request.prompt), request.cleaning)
    prompt, prompt_tokens = yield from encode_prompt(vocabulary, text, gpt.config.block_size)
    yield _loaded(request, found, prompt_tokens, dropped=prompt_tokens - len(prompt), changed_by=changed)
    rank = best_of_n if isinstance(request, BestOfN) else beam_search_texts
    completions = yield from rank(gpt, vocabulary, prompt, request.sampling, request.texts)
    for index, (text, nats, tokens, reason) in enumerate(completions):
        yield RankedText(id=request.id, index=index, text=text, nats_per_token=nats, tokens=tokens, reason=reason)


def handle_score(request: Score, models: ModelCache) -> AnyReplies:
    if not request.text:
        raise EmptyTextError("it is empty")
    found = yield from models.get(Path(request.checkpoint), "float32")
    text, changed = clean_prompt(replace_surrogates(request.text), request.cleaning)
    if not text:
        raise EmptyTextError("cleaning it like the training text removes all of it")
    gpt, vocabulary, size = found.model.gpt, found.model.vocabulary, len(text.encode())
    if request.each_token and gpt.mask_token_id is not None:
        raise MaskedLossesError("a masked model has no loss of single tokens", todo="choose causal models")
    ids, total = yield from encode_truncated(vocabulary, text, size)
    yield _loaded(request, found, total, changed_by=changed)
    nats, done = 0.0, 0
    for chunk in token_losses(gpt, np.concatenate([[vocabulary.end_of_text], ids]), each=request.each_token):
        if request.each_token:
            tokens = tuple(token_info(vocabulary, int(token)) for token in ids[done : done + chunk.tokens])
            yield TokenLosses(id=request.id, tokens=tokens, nats=chunk.each)
        nats, done = nats + chunk.nats, done + chunk.tokens
        yield ScoreProgress(id=request.id, done=done, total=total)
    cost = TextLoss(nats, total, size, bound=gpt.mask_token_id is not None)
    yield ScoreResult(
        id=request.id,
        step=found.model.step,
        nats=nats,
        tokens=total,
        bytes=size,
        bits_per_byte=cost.bits_per_byte,
        bound=cost.bound,
        short_context_tokens=short_context_tokens(gpt, total),
    )


def handle_inspect_prompt(request: InspectPrompt, models: ModelCache) -> AnyReplies:
    found = yield from models.get(Path(request.checkpoint), request.precision)
    gpt, vocabulary = found.model.gpt, found.model.vocabulary
    text, changed = clean_prompt(replace_surrogates(request.prompt), request.cleaning)
    prompt, prompt_tokens = yield from encode_prompt(vocabulary, text, max(1, prompt_limit(gpt, 1)))
    dropped = prompt_tokens - len(prompt)
    yield _loaded(request, found, prompt_tokens, dropped, changed)
    for result in inspect_prompt(
        gpt, vocabulary, prompt, request.sampling, request.options, forced=request.forced, dropped=dropped
    ):
        yield None if result is None else Inspected(id=request.id, result=result)
        if isinstance(result, AppendedToken) and result.reason is not None:
            yield TextEnded(id=request.id, reason=result.reason, tokens=result.step)


def handle_inspect_context(request: InspectContext, models: ModelCache) -> AnyReplies:
    found = yield from models.get(Path(request.checkpoint), request.precision)
    gpt, vocabulary = found.model.gpt, found.model.vocabulary
    text, changed = clean_prompt(replace_surrogates(request.prompt), request.cleaning)
    limit = max(1, prompt_limit(gpt, 1))
    prompt, prompt_tokens = yield from encode_prompt(vocabulary, text, limit)
    total = prompt_tokens + len(request.generated)
    ids = [*prompt, *request.generated][-min(limit, request.positions or limit) :]
    yield _loaded(request, found, prompt_tokens, total - len(ids), changed)
    context = next_token_context(gpt, ids)
    for result in inspect_context(gpt, vocabulary, context, request.options, dropped=total - len(ids)):
        yield None if result is None else Inspected(id=request.id, result=result)


def handle_inspect_model(request: InspectModel, models: ModelCache) -> AnyReplies:
    found = yield from models.get(Path(request.checkpoint), request.precision)
    yield _loaded(request, found)
    for result in inspect_model(found.model.gpt):
        yield Inspected(id=request.id, result=result)


def handle_tokenize(request: TokenizeText) -> AnyReplies:
    vocabulary = open_vocabulary(request.vocabulary)
    yield None
    yield Tokens(id=request.id, result=tokenize_text(vocabulary, request.text))


def handle_read_batch(request: ReadBatch) -> AnyReplies:
    examples = TrainingExamples(request.batch)
    yield None
    yield Tokens(id=request.id, result=examples.describe())


def handle_score_batch(request: ScoreBatch, models: ModelCache) -> AnyReplies:
    examples = TrainingExamples(request.batch)
    found = yield from models.get(Path(request.checkpoint), "float32")
    examples.check_model(found.model.gpt)
    yield _loaded(request, found)
    for losses in examples.losses(found.model.gpt):
        yield Tokens(id=request.id, result=losses)


def _loaded(
    request: ModelRequest,
    found: LoadResult,
    prompt_tokens: int = 0,
    dropped: int = 0,
    changed_by: tuple[str, ...] = (),
) -> Loaded:
    return Loaded(
        id=request.id,
        checkpoint=str(found.model.checkpoint),
        step=found.model.step,
        prompt_tokens=prompt_tokens,
        dropped_tokens=dropped,
        precision=found.model.precision,
        threads=torch.get_num_threads(),
        passed_over=found.passed_over,
        changed_by=changed_by,
    )
