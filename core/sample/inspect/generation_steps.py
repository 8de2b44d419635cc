"""The six steps of generation, as chapters 2 to 5 of "Build a Large Language Model (From Scratch)" show them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from core.model.gpt import GPT
from core.model.inference import inference
from core.sample.inspect.activations import hidden_states
from core.sample.inspect.figures import entropy, finite_floats, head_and_tail, rank, token_info
from core.sample.inspect_protocol import (
    MAX_PROMPT_TOKENS,
    InspectOptions,
    LastLogits,
    LogitsMatrix,
    LogitsRow,
    ProcessorSummary,
    PromptTokens,
    SampledToken,
    TokenCandidate,
    TokenProbabilities,
)
from core.sample.logits_processors import ProcessedLogits, TokenSampler
from core.tokenize.vocabulary import Vocabulary


def prompt_tokens(model: GPT, vocabulary: Vocabulary, ids: Sequence[int], dropped: int) -> PromptTokens:
    """Step 1. ids: the context. dropped: tokens before it."""
    shown = ids[-MAX_PROMPT_TOKENS:]
    return PromptTokens(
        first=len(ids) - len(shown) + 1,
        tokens=tuple(token_info(vocabulary, token, mask=model.mask_token_id) for token in shown),
        seen=len(ids),
        dropped=dropped,
    )


def logits_matrix(model: GPT, vocabulary: Vocabulary, ids: Sequence[int], options: InspectOptions) -> LogitsMatrix:
    """Step 2. Only the rows shown are computed: all would take 200 MB for GPT-2 at 1,024 positions."""
    positions = head_and_tail(len(ids), options.rows, tail=-(-options.rows // 2))
    columns = _columns(model.vocab_size, options)
    with inference(model, dtype=torch.float32):
        logits = model.logits(hidden_states(model, ids)[positions]).cpu()
    return LogitsMatrix(
        positions=len(ids),
        vocabulary=model.vocab_size,
        columns=tuple(columns),
        rows=tuple(
            LogitsRow(
                position + 1,
                token_info(vocabulary, ids[position], mask=model.mask_token_id),
                finite_floats(row[columns]),
            )
            for position, row in zip(positions, logits, strict=True)
        ),
    )


def last_logits(logits: Tensor, position: int, step: int, options: InspectOptions) -> LastLogits:
    """Step 3. logits: (vocabulary,), finite."""
    columns = _columns(len(logits), options)
    return LastLogits(
        step=step,
        position=position,
        vocabulary=len(logits),
        columns=tuple(columns),
        logits=finite_floats(logits[columns]),
        lowest=float(logits.min()),
        highest=float(logits.max()),
        mean=float(logits.mean()),
        deviation=float(logits.std(correction=0)),
    )


def _columns(vocabulary: int, options: InspectOptions) -> list[int]:
    return head_and_tail(vocabulary, options.columns, tail=1)


class SamplingTrace:
    """Samples one token and keeps the probabilities after each logits processor."""

    def __init__(self, logits: Tensor, sampler: TokenSampler, step: int, forced: int | None = None) -> None:
        """Samples a token, which `sampler` records. logits: (vocabulary,), finite.

        forced: the token to take instead; the random numbers are used up all the same.
        """
        self._logits, self._step = logits, step
        settings = sampler.sampling
        outputs: list[tuple[float | None, ProcessedLogits]] = [
            (None, ProcessedLogits("softmax", torch.arange(len(logits)), logits))
        ]
        for output in sampler.process(logits):
            value = getattr(settings, output.name)
            outputs.append((None if isinstance(value, dict) else float(value), output))
        last = outputs[-1][1]
        random = _random_numbers(sampler.generator, len(last.ids))
        self._sampled = sampler.propose(logits)
        self.token = self._sampled if forced is None else forced
        sampler.record(self.token)
        self._random = torch.full((len(logits),), -1.0)
        """(vocabulary,) -1 where there is none; all if the sampled token does not follow from them."""
        if not sampler.greedy and int(last.ids[(last.logits.softmax(-1) / random).argmax()]) == self._sampled:
            self._random[last.ids] = random
        if sampler.greedy:  # no processor: the most likely token is taken
            outputs.append((0.0, ProcessedLogits("temperature", torch.tensor([self.token]), torch.zeros(1))))
        self._processors = [
            ProcessorSummary(output.name, value, len(output.ids), entropy(output.logits)) for value, output in outputs
        ]
        self._probabilities = [_probabilities(output, len(logits)) for _, output in outputs]

    def probabilities(self, vocabulary: Vocabulary, options: InspectOptions) -> TokenProbabilities:
        """Step 4."""
        first, last = self._probabilities[0], self._probabilities[-1]
        best = [torch.topk(each, min(options.candidates, len(each))).indices.tolist() for each in (first, last)]
        shown = {self.token, *best[0], *(token for token in best[1] if last[token] >= 0)}
        return TokenProbabilities(
            step=self._step,
            processors=tuple(self._processors),
            candidates=tuple(
                TokenCandidate(
                    token_info(vocabulary, token),
                    float(self._logits[token]),
                    self._column(token),
                    None if self._random[token] < 0 else float(self._random[token]),
                )
                for token in sorted(shown, key=lambda token: (-float(last[token]), -float(first[token]), token))
            ),
        )

    def sampled_token(self, vocabulary: Vocabulary) -> SampledToken:
        """Step 5."""
        log_probabilities = torch.log_softmax(self._logits, -1)
        return SampledToken(
            step=self._step,
            token=token_info(vocabulary, self.token),
            probability=max(0.0, float(self._probabilities[-1][self.token])),
            before=float(self._probabilities[0][self.token]),
            surprise=-float(log_probabilities[self.token]) / math.log(2),
            rank=rank(self._logits, self.token),
            instead_of=None if self.token == self._sampled else token_info(vocabulary, self._sampled),
        )

    def _column(self, token: int) -> tuple[float | None, ...]:
        values = [float(probabilities[token]) for probabilities in self._probabilities]
        return tuple(None if value < 0 else value for value in values)


def _random_numbers(generator: torch.Generator, count: int) -> Tensor:
    """(count,) what `torch.multinomial` will draw to sample one of `count`: the highest probability / number wins."""
    copy = torch.Generator()
    copy.set_state(generator.get_state())
    return torch.empty(count).exponential_(1, generator=copy)


def _probabilities(output: ProcessedLogits, vocabulary: int) -> Tensor:
    """(vocabulary,) after a processor; -1 for tokens that it or an earlier one filtered out."""
    probabilities = torch.full((vocabulary,), -1.0)
    probabilities[output.ids] = torch.softmax(output.logits, -1)
    return probabilities
