"""From a model's logits to one token: logits processors in their order, then sampling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from core.errors import UsageError
from core.recipe.sampling import Sampling
from core.sample import samplers


class SamplingSettingError(UsageError):
    """A setting has a token id that the vocabulary lacks."""

    doing = "generate text"


class LogitsProcessor(NamedTuple):
    """Applies one setting of `Sampling`."""

    setting: str
    process: Callable[[TokenSampler, Tensor], Tensor | None]
    """Logits (n,) to logits (n,), for a filter to the indices (k,) of the tokens that remain; None: the setting does
    nothing."""
    filters: bool = False


class ProcessedLogits(NamedTuple):
    """Logits after one processor."""

    name: str
    """A field of `Sampling`."""
    ids: Tensor
    """(k,) ids of the tokens that can still be sampled."""
    logits: Tensor
    """(k,) float32."""


class TokenSampler:
    """Samples the tokens of one text, which it records for the penalties."""

    def __init__(
        self, sampling: Sampling, vocabulary: int, *, prompt: Iterable[int] = (), seed_offset: int = 0
    ) -> None:
        """vocabulary: number of ids. prompt: ids in the context before the text. seed_offset: index of the text among
        those of one request, added to the seed.

        Raises SamplingSettingError.
        """
        unknown = [token for token in (*sampling.logit_bias, *sampling.stop_tokens) if not 0 <= token < vocabulary]
        if unknown:
            raise SamplingSettingError(
                f"there is no token {unknown[0]}", todo=f"this vocabulary has the ids 0 to {vocabulary - 1:,}"
            )
        self.sampling = sampling
        self.all_ids = torch.arange(vocabulary)
        self.seen = dict.fromkeys(prompt)
        """The distinct tokens of prompt and text."""
        self.counts: Counter[int] = Counter()
        """Number of occurrences of each token in the text."""
        self.generator = torch.Generator().manual_seed(sampling.seed + seed_offset)

    def process(self, logits: Tensor) -> Iterator[ProcessedLogits]:
        """Logits (vocabulary,) after each of `PROCESSORS` that does something, in order.

        With temperature 0 only those before it apply: the most likely token is taken.
        """
        ids = self.all_ids
        for processor in PROCESSORS:
            if processor.setting == "temperature" and self.greedy:
                return
            result = processor.process(self, logits)
            if result is None:
                continue
            ids, logits = (ids[result], logits[result]) if processor.filters else (ids, result)
            yield ProcessedLogits(processor.setting, ids, logits)

    @property
    def greedy(self) -> bool:
        return self.sampling.temperature == 0

    @property
    def has_penalties(self) -> bool:
        """Whether the tokens of the text influence the next ones other than through the model."""
        settings = self.sampling
        return settings.repetition_penalty != 1 or bool(settings.presence_penalty or settings.frequency_penalty)

    def sample(self, logits: Tensor) -> int:
        """The text's next token, from finite logits (vocabulary,)."""
        token = self.propose(logits)
        self.record(token)
        return token

    def propose(self, logits: Tensor) -> int:
        """As `sample`, without recording the token."""
        last = ProcessedLogits("", self.all_ids, logits)
        for last in self.process(logits):  # noqa: B007 only the last one counts
            pass
        index = samplers.argmax(last.logits) if self.greedy else samplers.sample_index(last.logits, self.generator)
        return int(last.ids[index])

    def record(self, token: int) -> None:
        """Add `token` to the text."""
        self.counts[token] += 1
        self.seen[token] = None


def _logit_bias(sampler: TokenSampler, logits: Tensor) -> Tensor | None:
    bias = sampler.sampling.logit_bias
    return samplers.apply_logit_bias(logits, bias) if bias else None


def _repetition_penalty(sampler: TokenSampler, logits: Tensor) -> Tensor | None:
    penalty = sampler.sampling.repetition_penalty
    if penalty == 1 or not sampler.seen:
        return None
    return samplers.apply_repetition_penalty(logits, torch.tensor(list(sampler.seen)), penalty)


def _presence_penalty(sampler: TokenSampler, logits: Tensor) -> Tensor | None:
    penalty, counts = sampler.sampling.presence_penalty, sampler.counts
    if not penalty or not counts:
        return None
    penalties = torch.full((len(counts),), penalty, dtype=logits.dtype)
    return samplers.subtract_penalties(logits, torch.tensor(list(counts)), penalties)


def _frequency_penalty(sampler: TokenSampler, logits: Tensor) -> Tensor | None:
    penalty, counts = sampler.sampling.frequency_penalty, sampler.counts
    if not penalty or not counts:
        return None
    penalties = torch.tensor(list(counts.values()), dtype=logits.dtype) * penalty
    return samplers.subtract_penalties(logits, torch.tensor(list(counts)), penalties)


def _temperature(sampler: TokenSampler, logits: Tensor) -> Tensor | None:
    temperature = sampler.sampling.temperature
    return None if temperature == 1 else samplers.apply_temperature(logits, temperature)


def _top_k(sampler: TokenSampler, logits: Tensor) -> Tensor | None:
    k = sampler.sampling.top_k
    return samplers.top_k(logits, k) if 0 < k < len(sampler.all_ids) else None


def _top_p(sampler: TokenSampler, logits: Tensor) -> Tensor | None:
    p = sampler.sampling.top_p
    return samplers.top_p(logits, p) if p < 1 else None


def _min_p(sampler: TokenSampler, logits: Tensor) -> Tensor | None:
    p = sampler.sampling.min_p
    return samplers.min_p(logits, p) if p > 0 else None


def _typical_p(sampler: TokenSampler, logits: Tensor) -> Tensor | None:
    p = sampler.sampling.typical_p
    return samplers.typical_p(logits, p) if p < 1 else None


PROCESSORS = (
    LogitsProcessor("logit_bias", _logit_bias),
    LogitsProcessor("repetition_penalty", _repetition_penalty),
    LogitsProcessor("presence_penalty", _presence_penalty),
    LogitsProcessor("frequency_penalty", _frequency_penalty),
    LogitsProcessor("temperature", _temperature),
    LogitsProcessor("top_k", _top_k, filters=True),
    LogitsProcessor("top_p", _top_p, filters=True),
    LogitsProcessor("min_p", _min_p, filters=True),
    LogitsProcessor("typical_p", _typical_p, filters=True),
)
"""In order of application: bias and penalties on all tokens, temperature, then the filters."""
