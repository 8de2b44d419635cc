"""The values of `model.init`: a repository of the hub, a checkpoint of a run, or a folder. No file is read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from core.errors import UsageError, did_you_mean


class InitError(UsageError):
    """`model.init` names no usable weights, or weights that do not fit the recipe."""

    doing = "use these initial weights"


class HubModel(NamedTuple):
    """hf:NAME@REVISION."""

    repository: str
    revision: str


class RunCheckpoint(NamedTuple):
    """run:NAME@STEP."""

    name: str
    step: int | None
    """None: the best checkpoint."""


class PublishedSize(NamedTuple):
    """A GPT-2 that has a short name."""

    repository: str
    n_layer: int
    n_head: int
    n_embd: int


PUBLISHED = {
    "gpt2": PublishedSize("openai-community/gpt2", 12, 12, 768),
    "gpt2-medium": PublishedSize("openai-community/gpt2-medium", 24, 16, 1024),
    "gpt2-large": PublishedSize("openai-community/gpt2-large", 36, 20, 1280),
    "gpt2-xl": PublishedSize("openai-community/gpt2-xl", 48, 25, 1600),
    "distilgpt2": PublishedSize("distilbert/distilgpt2", 6, 12, 768),
}
"""Repositories of the hub by their short name."""

_HUB = re.compile(r"hf:(\w[\w.-]*(?:/\w[\w.-]*)?)(?:@(\w[\w./-]*))?\Z", re.ASCII)
_RUN = re.compile(r"run:([A-Za-z0-9][A-Za-z0-9._-]*)(?:@(\d{1,12}))?\Z")


def parse_init(init: str) -> HubModel | RunCheckpoint | Path:
    """The meaning of a non-empty `init`; a path may be relative. Raises InitError."""
    if init.startswith("run:"):
        match = _RUN.match(init)
        if match is None:
            todo = "write run:NAME for the best checkpoint of a run, or run:NAME@STEP; `llmtui ls` lists"
            raise _invalid(init, todo)
        return RunCheckpoint(match[1], int(match[2]) if match[2] else None)
    if not init.startswith("hf:"):
        try:
            return Path(init).expanduser()
        except RuntimeError as error:  # ~user of a user who does not exist
            raise _invalid(init, str(error)) from None
    match = _HUB.match(init)
    short_names = ", ".join(f"hf:{name}" for name in PUBLISHED)
    if match is None:
        raise _invalid(init, f"write hf:NAMESPACE/NAME or hf:NAMESPACE/NAME@REVISION, or one of {short_names}")
    name = match[1]
    if "/" not in name:
        if name not in PUBLISHED:
            hint = did_you_mean(name, PUBLISHED)
            raise _invalid(init, f"{hint + '; ' if hint else ''}known by a short name are {short_names}")
        name = PUBLISHED[name].repository
    return HubModel(name, match[2] or "main")


def _invalid(init: str, todo: str) -> InitError:
    return InitError(f"{init!r} names no weights", where="model.init", todo=todo)
