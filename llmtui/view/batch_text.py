"""The batch of a training step as text: its rows, their documents, what is masked, and the loss of each token."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

from core.plural import plural
from core.sample.inspect_protocol import TokenInfo
from core.sample.token_protocol import NO_TARGET, RowLosses, TrainingBatch
from llmtui.view import units
from llmtui.view.inspect_tables import token_label
from llmtui.view.sanitize import shown
from llmtui.view.surprise import MOST, role_of
from llmtui.view.token_grid import GridToken, hex_bytes, token_text

EXCERPT_TOKENS = 3
"""Tokens of an excerpt before the one that it is about."""
EXCERPT_LENGTH = 200
"""Characters of an excerpt at most."""


class TokenLoss(NamedTuple):
    """One token of a row, in the order of the text."""

    token: int
    position: int | None
    """The position with this token as its target; None: no loss."""
    read: int
    """What the model reads in its place: itself, the mask token, or another one."""
    nats: float | None
    """None without a target, before the losses are computed, and if it is not finite."""


class RowText(NamedTuple):
    """What a row is about."""

    documents: int
    """Documents that it has a part of."""
    excerpt: str
    """Sanitised, in one line."""


class BatchView:
    """A batch, and the losses of those rows that are computed so far."""

    def __init__(self, batch: TrainingBatch) -> None:
        self.batch = batch
        self._losses: dict[int, RowLosses] = {}
        self._nats: dict[int, float] = {}
        """By row, the sum of its losses."""
        self._texts: dict[tuple[int, bool], RowText] = {}
        """By row, and whether its losses are known."""

    @cached_property
    def infos(self) -> Mapping[int, TokenInfo]:
        """What each id stands for."""
        return {token.id: token for token in self.batch.tokens}

    # -- losses ---------------------------------------------------------------------------------------------------

    def add(self, losses: RowLosses) -> None:
        """Take the losses of one row."""
        self._losses[losses.row] = losses
        pairs = zip(losses.nats, self.batch.rows[losses.row].targets, strict=True)
        known = (math.nan if nats is None else nats for nats, target in pairs if target != NO_TARGET)
        self._nats[losses.row] = math.fsum(known)

    @property
    def scored(self) -> int:
        """Number of rows whose losses are known."""
        return len(self._losses)

    @property
    def loss(self) -> float | None:
        """The loss of the batch in nats, as `Metric.loss` has it; None until the losses of all rows are known."""
        if self.scored < len(self.batch.rows):
            return None
        nats = (row.weight * self._nats[number] for number, row in enumerate(self.batch.rows))
        return math.fsum(nats) / self.batch.count

    def row_loss(self, row: int) -> float | None:
        """Mean loss of the row's targets in nats; None until it is known. NaN if one is not finite."""
        if row not in self._nats:
            return None
        targets = self.batch.rows[row].targets
        return self._nats[row] / max(1, len(targets) - targets.count(NO_TARGET))

    def nats(self, row: int) -> tuple[float | None, ...]:
        """The loss at each position of a row, see `RowLosses`; all None until they are known."""
        return self._losses[row].nats if row in self._losses else (None,) * len(self.batch.rows[row].targets)

    def by_loss(self) -> list[int]:
        """The rows, highest loss first; those without one last."""
        rows = range(len(self.batch.rows))
        return sorted(rows, key=lambda row: (-_rank(self.row_loss(row)), row))

    def tokens(self, row: int) -> list[TokenLoss]:
        """The tokens of a row: T + 1 of a causal model, whose first is context alone; T of a masked one."""
        found, nats = self.batch.rows[row], self.nats(row)
        if not self.batch.masked:
            first = TokenLoss(found.inputs[0], None, found.inputs[0], None)
            rest = zip(found.targets, nats, strict=True)
            return [first, *(TokenLoss(token, position, token, n) for position, (token, n) in enumerate(rest))]
        parts = zip(found.inputs, found.targets, nats, strict=True)
        return [
            TokenLoss(read, None, read, None) if target == NO_TARGET else TokenLoss(target, position, read, n)
            for position, (read, target, n) in enumerate(parts)
        ]

    def text(self, row: int) -> RowText:
        """The documents of a row, and how its text begins; or, once its losses are known, the text around the highest
        of them."""
        key = row, row in self._losses
        if key not in self._texts:
            tokens = self.tokens(row)
            worst = max(range(len(tokens)), key=lambda number: tokens[number].nats or -1.0)
            start = max(0, worst - EXCERPT_TOKENS) if key[1] else 0
            content = b"".join(
                bytes.fromhex(self.infos[token.token].bytes) for token in tokens[start : start + EXCERPT_LENGTH]
            )
            excerpt = shown(" ".join(content.decode("utf-8", "replace").split()), EXCERPT_LENGTH)
            ends = [token.token for token in tokens[:-1]].count(self.batch.end_of_text)
            self._texts[key] = RowText(ends + 1, f"…{excerpt}" if start else excerpt)
        return self._texts[key]

    def worst_tokens(self, row: int) -> list[int]:
        """Numbers of the row's tokens with a loss, highest first."""
        tokens = self.tokens(row)
        return sorted(
            (number for number, token in enumerate(tokens) if token.nats is not None),
            key=lambda number: (-(tokens[number].nats or 0.0), number),
        )

    def grid(self, row: int) -> list[GridToken]:
        """The tokens of a row with their losses, or their ids before these are computed."""
        tokens = self.tokens(row)
        return [
            self._grid_token(number, token, len(tokens), row in self._losses) for number, token in enumerate(tokens)
        ]

    def _grid_token(self, number: int, token: TokenLoss, count: int, scored: bool) -> GridToken:
        info = self.infos[token.token]
        masked = token.position is not None and token.read != token.token
        label = f"▒{token_text(info)}▒" if masked else token_text(info)
        ends = token.token == self.batch.end_of_text
        if scored:
            below = "" if token.position is None else "–" if token.nats is None else f"{token.nats:.1f}"
        else:
            below = str(token.token)
        return GridToken(
            label=label,
            role=self.role(token, scored),
            below=below,
            detail=self._detail(number, token, count, scored),
            rule="the document ends here" if ends and number < count - 1 else "",
        )

    def role(self, token: TokenLoss, scored: bool) -> str:
        """The role of a token: how high its loss is, or whether it has one at all."""
        if token.position is None:
            return "dim"
        if not scored:
            return "accent" if self.batch.masked else ""
        if token.nats is None:
            return MOST
        return role_of(token.nats / math.log(2))

    def _detail(self, number: int, token: TokenLoss, count: int, scored: bool) -> str:
        info = self.infos[token.token]
        name = shown(info.text) if info.kind == "mark" else f"bytes {hex_bytes(info)}"
        parts = [f"token {number + 1:,} of {count:,}", f"id {token.token:,}", name, self.target(token)]
        if scored and token.position is not None:
            parts.append("the loss is not finite" if token.nats is None else surprise(token.nats))
        return " · ".join(filter(None, parts))

    def target(self, token: TokenLoss) -> str:
        """What the model has to do with a token, where that is not plain."""
        if not self.batch.masked:
            return "" if token.position is not None else "context alone, not a target"
        if token.position is None:
            return "not a target"
        if token.read == token.token:
            return "a target, not masked"
        info = self.infos[token.read]
        return "masked" if info.kind == "hidden" else f"a target, read as {token_label(info)}"


def surprise(nats: float) -> str:
    """A loss in words: `loss 4.605 nats, 1 in 100`."""
    chance = units.count(math.exp(nats)) if nats < 50 else "e^" + units.count(nats)
    return f"loss {units.cost(nats)} nats, 1 in {chance}"


def summary(batch: TrainingBatch) -> str:
    """The size of a batch: `epoch 2, 8 rows of 256 tokens`."""
    length = len(batch.rows[0].inputs) if batch.rows else 0
    return f"epoch {batch.epoch:,}, {plural(len(batch.rows), 'row')} of {plural(length, 'token')}"


def _rank(loss: float | None) -> float:
    return -math.inf if loss is None else math.inf if math.isnan(loss) else loss
