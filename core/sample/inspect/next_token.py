"""Next-token logits of a text, computed as generation computes them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from core.model.gpt import GPT
from core.model.inference import inference
from core.sample.generate import prompt_limit
from core.sample.kv_decoder import KVDecoder
from core.sample.samplers import check_finite


class CausalNextToken:
    """Next-token logits of a causal model, by the decoder that `generate` uses."""

    def __init__(self, model: GPT, prompt: Sequence[int]) -> None:
        """Raises LogitsError if logits are not finite, as `append` does."""
        self._decoder = KVDecoder(model, prompt)

    @property
    def ids(self) -> list[int]:
        """The context."""
        return self._decoder.context[0]

    @property
    def logits(self) -> Tensor:
        """(vocabulary,) of the next token, float32 on the CPU."""
        return self._decoder.logits[0]

    def append(self, token: int) -> None:
        """Append a token to the text."""
        self._decoder.append([token])


class MaskedNextToken:
    """Next-token logits of a masked model: those at one masked position after the text.

    For a single token `denoise` does the same; for more, it masks all their positions at once.
    """

    def __init__(self, model: GPT, prompt: Sequence[int]) -> None:
        """Raises LogitsError if logits are not finite, as `append` does."""
        self._model, self._text = model, list(prompt)
        self.ids: list[int] = []
        """The context, including the mask token."""
        self.logits = self._forward()

    def append(self, token: int) -> None:
        """Append a token to the text."""
        self._text.append(token)
        self.logits = self._forward()

    def _forward(self) -> Tensor:
        self.ids = next_token_context(self._model, self._text)
        with inference(self._model, dtype=torch.float32):
            hidden_states = self._model.hidden_states(torch.tensor([self.ids], device=self._model.device))[:, -1]
            return check_finite(self._model.logits(hidden_states).cpu())[0]


def next_token_context(model: GPT, text: Sequence[int]) -> list[int]:
    """The end of `text` that fits the context when one token is predicted; for masked models with a mask token."""
    limit = prompt_limit(model, 1)
    ids = list(text[max(0, len(text) - limit) :])
    return ids if model.mask_token_id is None else [*ids, model.mask_token_id]
