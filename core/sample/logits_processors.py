"""The chain from a model's scores to one token: what a setting leaves as it is, is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from core.errors import UsageError
from core.recipe.sampling import Sampling
from core.sample import samplers


class SamplingSettingError(UsageError):
    """A setting that the vocabulary rules out."""

    doing = "draw text"


class Step(NamedTuple):
    """What is in the draw behind one link of the chain."""

    name: str
    """A field of `Sampling`."""
    ids: Tensor
    """(k,) the tokens that are left."""
    scores: Tensor
    """(k,) theirs, float32."""


class Chain:
    """Draws one text's tokens, which it remembers for the penalties."""

    def __init__(self, sampling: Sampling, vocabulary: int, *, prompt: Iterable[int] = (), stream: int = 0) -> None:
        """vocabulary: ids there are. prompt: what the model sees before the text. stream: which of several texts from
        one request, each with a seed of its own.

        Raises SamplingSettingError.
        """
        beyond = [token for token in (*sampling.logit_bias, *sampling.stop_tokens) if not 0 <= token < vocabulary]
        if beyond:
            raise SamplingSettingError(
                f"there is no token {beyond[0]}", todo=f"this vocabulary has the ids 0 to {vocabulary - 1:,}"
            )
        self.sampling = sampling
        self.all = torch.arange(vocabulary)
        self._there = dict.fromkeys(prompt)
        """The tokens of prompt and text, each once."""
        self.counts: Counter[int] = Counter()
        """How often the text has each token."""
        self.generator = torch.Generator().manual_seed(sampling.seed + stream)

    def steps(self, scores: Tensor) -> Iterator[Step]:
        """What each link that does something makes of `scores` (vocabulary,), in order.

        Bias and penalties first, on all tokens; then temperature; then the filters. Temperature 0 has no filters:
        the likeliest is taken anyway.
        """
        want, counts = self.sampling, self.counts
        if want.logit_bias:
            yield Step("logit_bias", self.all, scores := samplers.biased(scores, want.logit_bias))
        if want.repetition_penalty != 1 and self._there:
            scores = samplers.repeated(scores, torch.tensor(list(self._there)), want.repetition_penalty)
            yield Step("repetition_penalty", self.all, scores)
        if counts and (want.presence_penalty or want.frequency_penalty):
            ids, times = torch.tensor(list(counts)), torch.tensor(list(counts.values()), dtype=scores.dtype)
            if want.presence_penalty:
                scores = samplers.penalised(scores, ids, times.sign() * want.presence_penalty)
                yield Step("presence_penalty", self.all, scores)
            if want.frequency_penalty:
                scores = samplers.penalised(scores, ids, times * want.frequency_penalty)
                yield Step("frequency_penalty", self.all, scores)
        if want.temperature == 0:
            return
        if want.temperature != 1:
            yield Step("temperature", self.all, scores := samplers.warmed(scores, want.temperature))
        ids = self.all
        for name, filtered, on in (
            ("top_k", samplers.top_k, 0 < want.top_k < len(ids)),
            ("top_p", samplers.top_p, want.top_p < 1),
            ("min_p", samplers.min_p, want.min_p > 0),
            ("typical_p", samplers.typical_p, want.typical_p < 1),
        ):
            if on:
                stay = filtered(scores, getattr(want, name))
                ids, scores = ids[stay], scores[stay]
                yield Step(name, ids, scores)

    @property
    def penalises(self) -> bool:
        """Whether what the text has changes what is drawn next."""
        want = self.sampling
        return want.repetition_penalty != 1 or bool(want.presence_penalty or want.frequency_penalty)

    def draw(self, scores: Tensor) -> int:
        """The text's next token for the scores (vocabulary,), which have to be finite."""
        token = self.choose(scores)
        self.remember(token)
        return token

    def remember(self, token: int) -> None:
        """The text has `token` from now on."""
        self.counts[token] += 1
        self._there[token] = None

    def choose(self, scores: Tensor) -> int:
        """A token as `draw` would draw it, which the text need not get."""
        last = Step("", self.all, scores)
        for last in self.steps(scores):  # noqa: B007 only where it leads to counts
            pass
        greedy = self.sampling.temperature == 0
        place = samplers.likeliest(last.scores) if greedy else samplers.drawn(last.scores, self.generator)
        return int(last.ids[place])
