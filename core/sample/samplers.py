"""From scores to one token: pure functions, which `core.sample.logits_processors` puts in order.

Scores are (n,) in float32, of whatever tokens are still in the draw. A filter returns (k,) the places in them that
stay, so that what comes behind it works on the few that are left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from core.errors import LlmtuiError

_HEADS = (256, 4096)
"""Among so many the fewest that reach a probability are looked for first: they take 0.1 and 0.7 ms, sorting 50,257
takes 4."""
_BLOCK = 64
_COLDEST = 1e-30
"""Scores divided by less are beyond float32; what is not the likeliest has no chance long before."""


class LogitsError(LlmtuiError):
    doing = "draw text"

    def __init__(self) -> None:
        super().__init__("the model's output is not finite", todo="use an earlier checkpoint")


def finite(logits: Tensor) -> Tensor:
    """The scores as they are, whatever their shape. Raises LogitsError where one is not finite."""
    # the sum tells it in a tenth of the time; it may overflow by itself
    if not math.isfinite(float(logits.sum())) and not bool(torch.isfinite(logits).all()):
        raise LogitsError()
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
    most = torch.finfo(scores.dtype).max
    return scores.index_put((ids,), torch.where(theirs > 0, theirs / penalty, theirs * penalty).clamp(-most, most))


def penalised(scores: Tensor, ids: Tensor, penalties: Tensor) -> Tensor:
    """The scores of all tokens; from those of `ids` (m,), each once, `penalties` (m,) are taken.

    As in OpenAI's interface: the same for each token that is there, or so much for each time that it is.
    """
    return scores.index_add(0, ids, -penalties)


def warmed(scores: Tensor, temperature: float) -> Tensor:
    """Scores divided by the temperature, which is above 0; the highest becomes 0, so that none overflows."""
    return (scores - scores.max()) / max(temperature, _COLDEST)


def likeliest(scores: Tensor) -> int:
    """The place of the highest, the first of equal ones. numpy finds it in a sixth of torch's time."""
    return int(scores.numpy().argmax())


def top_k(scores: Tensor, k: int) -> Tensor:
    """The k highest, best first; all where there are no more. Of equal ones at the border any.

    Fan et al. 2018, arXiv 1805.04833.
    """
    return _highest(scores, min(k, scores.numel()))


def top_p(scores: Tensor, p: float) -> Tensor:
    """The fewest of the likeliest that together reach the probability p, best first; at least one.

    Nucleus sampling: Holtzman et al. 2019, arXiv 1904.09751.
    """
    probabilities = torch.softmax(scores, -1)
    return _fewest(probabilities, probabilities, p)


def min_p(scores: Tensor, p: float) -> Tensor:
    """Those at least p times as likely as the likeliest; p is above 0. Nguyen et al. 2024, arXiv 2407.01082."""
    return (scores >= scores.max() + math.log(p)).nonzero()[:, 0]


def typical_p(scores: Tensor, p: float) -> Tensor:
    """The fewest that together reach the probability p, those first whose surprise is nearest to the expected one.

    Locally typical sampling: Meister et al. 2022, arXiv 2202.00666.
    """
    surprise = -torch.log_softmax(scores, -1)
    probabilities = torch.exp(-surprise)
    expected = torch.nansum(probabilities * surprise)  # what is impossible adds nothing
    return _fewest(-(surprise - expected).abs(), probabilities, p)


def _fewest(order: Tensor, probabilities: Tensor, p: float) -> Tensor:
    """The first places by `order` (n,), highest first, whose `probabilities` (n,) together reach p; at least one."""
    for size in (*_HEADS, order.numel()):
        places = _highest(order, min(size, order.numel()))
        if float(probabilities[places].sum()) >= p:
            break
    found = probabilities[places]
    before = found.cumsum(-1) - found
    return places[: max(1, int((before < p).sum()))]


def _highest(values: Tensor, k: int) -> Tensor:
    """The places of the k highest of `values` (n,), highest first.

    They are in the k blocks with the highest maxima, so that few have to be looked at one by one: of 50,257 the
    highest 50 take a third of the time of topk on all.
    """
    whole = values.numel() // _BLOCK
    if k * 4 > whole:
        return torch.topk(values, k).indices
    blocks = torch.topk(values[: whole * _BLOCK].view(whole, _BLOCK).amax(1), k).indices
    places = (blocks[:, None] * _BLOCK + torch.arange(_BLOCK)).flatten()
    places = torch.cat([places, torch.arange(whole * _BLOCK, values.numel())])
    return places[torch.topk(values[places], k).indices]


def drawn(scores: Tensor, generator: torch.Generator) -> int:
    """The place of one, drawn with the probabilities that softmax makes of the scores."""
    return int(torch.multinomial(torch.softmax(scores, -1), 1, generator=generator))
