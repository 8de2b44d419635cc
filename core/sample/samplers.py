"""From scores to one token: pure functions, which `core.sample.chain` puts in order.

Scores are (n,) in float32, of whatever tokens are still in the draw. A filter returns (k,) the places in them that
stay, so that what comes behind it works on the few that are left.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from core.trouble import Trouble

_HEAD = 256
"""Of so many likeliest tokens the nucleus is looked for first: sorting 50,257 takes 3 ms."""


class BadLogits(Trouble):
    doing = "draw text"


def finite(logits: Tensor) -> Tensor:
    """The scores as they are, whatever their shape. Raises BadLogits where one is not finite."""
    if not bool(torch.isfinite(logits).all()):
        raise BadLogits("the model's output is not finite", todo="use an earlier checkpoint")
    return logits


def biased(scores: Tensor, bias: Mapping[int, float]) -> Tensor:
    """The scores of all tokens, with `bias` added to those of its ids."""
    ids = torch.tensor(list(bias))
    return scores.index_add(0, ids, torch.tensor(list(bias.values()), dtype=scores.dtype))


def repeated(scores: Tensor, ids: Tensor, penalty: float) -> Tensor:
    """The scores of all tokens, with those of `ids` (m,), each once, divided by `penalty`, or multiplied below zero.

    CTRL, Keskar et al. 2019, arXiv 1909.05858; the multiplication is what transformers made of it.
    """
    theirs = scores[ids]
    return scores.index_put((ids,), torch.where(theirs > 0, theirs / penalty, theirs * penalty))


def penalised(scores: Tensor, ids: Tensor, counts: Tensor, *, presence: float, frequency: float) -> Tensor:
    """The scores of all tokens; `presence` taken once from those of `ids` (m,), `frequency` as often as `counts` (m,).

    As in OpenAI's interface.
    """
    return scores.index_put((ids,), scores[ids] - (presence + frequency * counts))


def warmed(scores: Tensor, temperature: float) -> Tensor:
    """Scores divided by the temperature, which is above 0; the highest becomes 0, so that none overflows."""
    return (scores - scores.max()) / temperature


def top_k(scores: Tensor, k: int) -> Tensor:
    """The k highest, best first; all where there are no more. Fan et al. 2018, arXiv 1805.04833."""
    return torch.topk(scores, min(k, scores.numel())).indices


def top_p(scores: Tensor, p: float) -> Tensor:
    """The fewest of the likeliest that together reach the probability p, best first; at least one.

    Nucleus sampling: Holtzman et al. 2019, arXiv 1904.09751.
    """
    probabilities = torch.softmax(scores, -1)
    likeliest, order = torch.topk(probabilities, min(_HEAD, scores.numel()))
    if float(likeliest.sum()) < p:
        likeliest, order = torch.sort(probabilities, descending=True, stable=True)
    before = likeliest.cumsum(-1) - likeliest
    return order[: max(1, int((before < p).sum()))]


def min_p(scores: Tensor, p: float) -> Tensor:
    """Those at least p times as likely as the likeliest. Nguyen et al. 2024, arXiv 2407.01082."""
    probabilities = torch.softmax(scores, -1)
    return (probabilities >= p * probabilities.max()).nonzero()[:, 0]


def typical_p(scores: Tensor, p: float) -> Tensor:
    """The fewest that together reach the probability p, those first whose surprise is nearest to the expected one.

    Locally typical sampling: Meister et al. 2022, arXiv 2202.00666.
    """
    surprise = -torch.log_softmax(scores, -1)
    probabilities = torch.exp(-surprise)
    expected = torch.nansum(probabilities * surprise)  # what is impossible adds nothing
    order = torch.argsort((surprise - expected).abs(), stable=True)
    found = probabilities[order]
    before = found.cumsum(-1) - found
    return order[: max(1, int((before < p).sum()))]


def drawn(scores: Tensor, generator: torch.Generator) -> int:
    """The place of one, drawn with the probabilities that softmax makes of the scores."""
    return int(torch.multinomial(torch.softmax(scores, -1), 1, generator=generator))
