"""What could come next of a text, as generation itself finds it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from core.model.gpt import GPT
from core.model.inference import inference
from core.sample.generate import seen
from core.sample.kv_decoder import Reader
from core.sample.samplers import finite


class Ahead:
    """Of a causal model: what `generate` reads, so that what is shown is what is drawn from."""

    def __init__(self, model: GPT, prompt: Sequence[int]) -> None:
        """Raises LogitsError where what the model says is not finite, as `read` does."""
        self._reader = Reader(model, prompt)

    @property
    def ids(self) -> list[int]:
        """What the model sees."""
        return self._reader.seen[0]

    @property
    def scores(self) -> Tensor:
        """(vocabulary,) of the next token, in float32 on the CPU."""
        return self._reader.scores[0]

    def read(self, token: int) -> None:
        """Add a token to the text."""
        self._reader.read([token])


class Uncovering:
    """Of a masked model: one hidden place behind the text, so that it, too, writes from left to right.

    For a single token this is how `denoise` does it; for more of them, `denoise` hides all their places at once.
    """

    def __init__(self, model: GPT, prompt: Sequence[int]) -> None:
        """Raises LogitsError where what the model says is not finite, as `read` does."""
        self._model, self._text = model, list(prompt)
        self.ids: list[int] = []
        self.scores = self._look()

    def read(self, token: int) -> None:
        self._text.append(token)
        self.scores = self._look()

    def _look(self) -> Tensor:
        self.ids = visible(self._model, self._text)
        with inference(self._model, dtype=torch.float32):
            hidden = self._model.hidden_states(torch.tensor([self.ids], device=self._model.device))[:, -1]
            return finite(self._model.logits(hidden).cpu())[0]


def visible(model: GPT, text: Sequence[int]) -> list[int]:
    """What the model sees of `text` when it says how it goes on; a masked model sees a hidden place behind it."""
    room = seen(model, 1)
    ids = list(text[max(0, len(text) - room) :])
    return ids if model.mask_token_id is None else [*ids, model.mask_token_id]
