"""Errors of the hub and of its libraries as `HubError`, and the removal of secrets from messages."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from typing import Literal

from core.errors import LlmtuiError
from core.sources.corpora import CorpusLocation

Kind = Literal[
    "unreachable", "offline mode", "gated", "missing", "revision", "scripts", "limited", "failing", "choice", "damaged"
]

OTHER_SOURCES = "or continue without the hub: a file or folder of yours, 'stdlib' or 'stories' as source.corpus"
RESUME_LATER = "resume later: it continues where it stopped"

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR)
_SECRETS = (
    (re.compile(r"\bhf_[A-Za-z0-9]{6,}"), "hf_…"),
    (re.compile(r"\bsk-[A-Za-z0-9_-]{8,}"), "sk-…"),
    (re.compile(r"(?i)\b(authorization\W{1,4}(?:bearer\s+|basic\s+)?|bearer\s+)[^\s'\"]+"), r"\1…"),
    (re.compile(r"(?i)\b(https?://)[^/\s@]+@"), r"\1…@"),
    # the hub redirects to signed URLs, which give access without a token
    (re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]*"), r"\1?…"),
)


class HubError(LlmtuiError):
    """A data set or model of the hub cannot be downloaded."""

    doing = "download from the Hugging Face hub"

    def __init__(self, kind: Kind, what: str, *, where: str = "", kept: str = "", todo: str = "") -> None:
        super().__init__(redact(what), where=where, kept=kept, todo=todo)
        self.kind = kind


def redact(text: str) -> str:
    """Replace tokens, keys, passwords and signatures in `text` by an ellipsis."""
    from huggingface_hub import get_token

    if token := get_token():
        text = text.replace(token, "…")
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def to_hub_error(error: BaseException, location: CorpusLocation, file: str = "", *, model: bool = False) -> HubError:
    """The HubError for an exception of `datasets`, `huggingface_hub` or Arrow.

    file: the data file that was being read. model: whether `location` is the repository of a model, not of a data set.
    """
    from datasets.exceptions import DataFilesNotFoundError
    from huggingface_hub import errors

    name, access = location.repository, _access_advice(location.repository, model)
    for cause in _chain(error):
        status = getattr(getattr(cause, "response", None), "status_code", 0)
        text = str(cause)
        if isinstance(cause, HubError):
            return cause
        if isinstance(cause, errors.OfflineModeIsEnabled):
            return offline_mode_error()
        if isinstance(cause, errors.GatedRepoError):
            return HubError("gated", "its owners give access on request", where=name, todo=access)
        if isinstance(cause, errors.RevisionNotFoundError):
            return HubError("revision", f"it has no revision {location.revision!r}", where=name, todo="see its page")
        if isinstance(cause, errors.RepositoryNotFoundError):
            todo = f"look for its name at {_page('', model)}; for a private one, {_token_advice()}"
            what = f"there is no such {'model' if model else 'data set'}, or it is private"
            return HubError("missing", what, where=name, todo=todo)
        if "scripts are no longer supported" in text:
            what = "it is only a script, which `datasets` does not run any more"
            return HubError("scripts", what, where=name, todo="look for a copy of it as Parquet files")
        if isinstance(cause, DataFilesNotFoundError):
            return HubError("missing", "there are no data files in it", where=name, todo="see its page")
        if status in (401, 403):
            return HubError("gated", f"the hub refuses to give it (error {status})", where=name, todo=access)
        if status == 404:
            return HubError("missing", "the hub does not have it (error 404)", where=name, todo="see its page")
        if status:
            return HubError("failing", f"the hub answers with error {status}", where=name, todo=RESUME_LATER)
    if isinstance(error, UnicodeDecodeError):
        todo = "fetch the file and name its path as source.corpus: its encoding is found then"
        return HubError("damaged", f"{file or 'its text'} is not UTF-8", where=name, todo=todo)
    if isinstance(error, OSError) and error.errno in _DISK:
        what = f"the cache of `huggingface_hub` cannot be written: {error.strerror}"
        return HubError("failing", what, where=str(error.filename or ""), todo="free some space or move it by HF_HOME")
    first = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return HubError("damaged", f"{file or 'it'} cannot be read: {first[:300]}", where=name, todo=RESUME_LATER)


def offline_mode_error() -> HubError:
    """The error for HF_HUB_OFFLINE=1 in the environment."""
    what = "the environment says to stay offline (HF_HUB_OFFLINE is set), so that the hub is not asked"
    return HubError("offline mode", what, todo=f"unset it, {OTHER_SOURCES}")


def unreachable(why: str) -> HubError:
    """The error for a hub that cannot be connected to."""
    from huggingface_hub import constants

    what = f"{constants.ENDPOINT} cannot be reached ({why})"
    return HubError("unreachable", what, todo=f"connect to the internet and resume, {OTHER_SOURCES}")


def all_failed(corpus: str, failed: list[tuple[CorpusLocation, HubError]]) -> HubError:
    """The error for a corpus that could not be read from any repository, with a line for each."""
    last = failed[-1][1]
    if len(failed) == 1 or last.kind in ("unreachable", "offline mode"):
        return last
    lines = [f"{location.repository}@{location.revision}: {error.what}" for location, error in failed]
    todo = list(dict.fromkeys(error.todo for _, error in failed if error.todo))
    return HubError(
        last.kind,
        "\n        ".join([f"{corpus} could not be read from any of its {len(lines)} repositories:", *lines]),
        todo="; ".join(todo),
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """`error` and the chain of its causes and contexts, each once."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _page(name: str, model: bool) -> str:
    from huggingface_hub import constants

    folder = "" if model and name else "models/" if model else "datasets/"
    return redact(f"{constants.ENDPOINT}/{folder}{name}".rstrip("/"))


def _token_advice() -> str:
    from huggingface_hub import get_token

    if get_token():
        return "see with `hf auth whoami` whether your token is still good for it"
    return "put a token of yours into HF_TOKEN or log in with `hf auth login`"


def _access_advice(name: str, model: bool) -> str:
    return f"ask for access at {_page(name, model)}, then {_token_advice()}"
