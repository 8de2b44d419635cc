"""The six steps of generation, as chapters 2 to 5 of "Build a Large Language Model (From Scratch)" show them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from core.model.gpt import GPT
from core.model.inference import inference
from core.sample.inspect.activations import hidden
from core.sample.inspect.figures import ends, entropy, numbers, rank, told
from core.sample.inspect_protocol import (
    TOKENS,
    Candidate,
    Choice,
    LastRow,
    Link,
    OutputRow,
    Outputs,
    Probabilities,
    Tokens,
    View,
)
from core.sample.logits_processors import Chain, Step
from core.tokenize.vocabulary import Vocabulary


def tokens(model: GPT, vocabulary: Vocabulary, ids: Sequence[int], dropped: int) -> Tokens:
    """1. ids: what the model sees."""
    shown = ids[-TOKENS:]
    return Tokens(
        first=len(ids) - len(shown) + 1,
        tokens=tuple(told(vocabulary, one, mask=model.mask_token_id) for one in shown),
        seen=len(ids),
        dropped=dropped,
    )


def outputs(model: GPT, vocabulary: Vocabulary, ids: Sequence[int], view: View) -> Outputs:
    """2. Only the rows that are told are worked out to the end: all would take 200 MB of GPT-2 at 1,024 places."""
    places, columns = ends(len(ids), view.rows, last=-(-view.rows // 2)), _columns(model.vocab_size, view)
    with inference(model, dtype=torch.float32):
        scores = model.logits(hidden(model, ids)[places]).cpu()
    return Outputs(
        places=len(ids),
        vocabulary=model.vocab_size,
        columns=tuple(columns),
        rows=tuple(
            OutputRow(place + 1, told(vocabulary, ids[place], mask=model.mask_token_id), numbers(row[columns]))
            for place, row in zip(places, scores, strict=True)
        ),
    )


def last_row(scores: Tensor, place: int, step: int, view: View) -> LastRow:
    """3. scores: (vocabulary,), finite."""
    columns = _columns(len(scores), view)
    return LastRow(
        step=step,
        place=place,
        vocabulary=len(scores),
        columns=tuple(columns),
        scores=numbers(scores[columns]),
        lowest=float(scores.min()),
        highest=float(scores.max()),
        mean=float(scores.mean()),
        deviation=float(scores.std(correction=0)),
    )


def _columns(vocabulary: int, view: View) -> list[int]:
    return ends(vocabulary, view.columns, last=1)


class Draw:
    """What the chain makes of the scores in one step of generation."""

    def __init__(self, scores: Tensor, chain: Chain, step: int) -> None:
        """Draws a token, which `chain` remembers. scores: (vocabulary,), finite."""
        self._scores, self._step = scores, step
        everything, sampling = torch.arange(len(scores)), chain.sampling
        links: list[tuple[str, float | None, Step]] = [("softmax", None, Step("softmax", everything, scores))]
        for link in chain.steps(scores):
            value = getattr(sampling, link.name)
            links.append((link.name, None if isinstance(value, dict) else float(value), link))
        self.token = chain.draw(scores)
        if sampling.temperature == 0:  # no link of the chain: the likeliest is taken, whatever the others have
            links.append(("temperature", 0.0, Step("temperature", torch.tensor([self.token]), torch.zeros(1))))
        self._links = [Link(name, value, len(link.ids), entropy(link.scores)) for name, value, link in links]
        self._probabilities = [_spread(link, len(scores)) for _, _, link in links]

    def probabilities(self, vocabulary: Vocabulary, view: View) -> Probabilities:
        """4."""
        first, last = self._probabilities[0], self._probabilities[-1]
        best = [torch.topk(one, min(view.candidates, len(one))).indices.tolist() for one in (first, last)]
        shown = {self.token, *best[0], *(token for token in best[1] if last[token] >= 0)}
        return Probabilities(
            step=self._step,
            links=tuple(self._links),
            candidates=tuple(
                Candidate(told(vocabulary, token), float(self._scores[token]), self._of(token))
                for token in sorted(shown, key=lambda token: (-float(last[token]), -float(first[token]), token))
            ),
        )

    def choice(self, vocabulary: Vocabulary) -> Choice:
        """5."""
        logs = torch.log_softmax(self._scores, -1)
        return Choice(
            step=self._step,
            token=told(vocabulary, self.token),
            probability=float(self._probabilities[-1][self.token]),
            before=float(self._probabilities[0][self.token]),
            surprise=-float(logs[self.token]) / math.log(2),
            rank=rank(self._scores, self.token),
        )

    def _of(self, token: int) -> tuple[float | None, ...]:
        found = [float(one[token]) for one in self._probabilities]
        return tuple(None if value < 0 else value for value in found)


def _spread(link: Step, vocabulary: int) -> Tensor:
    """Probabilities of all tokens (vocabulary,) behind a link; -1 for those no longer in the draw."""
    found = torch.full((vocabulary,), -1.0)
    found[link.ids] = torch.softmax(link.scores, -1)
    return found
