"""What can go wrong with the hub, as sentences; and the filter that keeps secrets out of them."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from typing import Literal

from core.errors import LlmtuiError
from core.sources.corpora import Place

Kind = Literal[
    "offline", "switched off", "gated", "missing", "revision", "scripts", "limited", "failing", "choice", "damaged"
]

WITHOUT = "or go on without the hub: a file or folder of yours, 'stdlib' or 'stories' as source.corpus"
LATER = "resume later: it goes on where it broke off"

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR)
_SECRETS = (
    (re.compile(r"\bhf_[A-Za-z0-9]{6,}"), "hf_…"),
    (re.compile(r"\bsk-[A-Za-z0-9_-]{8,}"), "sk-…"),
    (re.compile(r"(?i)\b(authorization\W{1,4}(?:bearer\s+|basic\s+)?|bearer\s+)[^\s'\"]+"), r"\1…"),
    (re.compile(r"(?i)\b(https?://)[^/\s@]+@"), r"\1…@"),
    # the hub sends on to signed addresses, which open a file for anybody
    (re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]*"), r"\1?…"),
)


class HubError(LlmtuiError):
    """A data set of the hub cannot be had."""

    doing = "download from the Hugging Face hub"

    def __init__(self, kind: Kind, what: str, *, where: str = "", kept: str = "", todo: str = "") -> None:
        super().__init__(redact(what), where=where, kept=kept, todo=todo)
        self.kind = kind


def redact(text: str) -> str:
    """`text` without tokens, keys, passwords and signatures."""
    from huggingface_hub import get_token

    if token := get_token():
        text = text.replace(token, "…")
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def told(error: BaseException, place: Place, file: str = "", *, model: bool = False) -> HubError:
    """What `error`, raised by `datasets`, `huggingface_hub` or Arrow at `place`, means to a person.

    file: the data file that was being read. model: it is a model's repository, not a data set's.
    """
    import huggingface_hub.errors as hub
    from datasets.exceptions import DataFilesNotFoundError

    name, ask = place.repository, _ask(place.repository, model)
    for each in _chain(error):
        status = getattr(getattr(each, "response", None), "status_code", 0)
        text = str(each)
        if isinstance(each, HubError):
            return each
        if isinstance(each, hub.OfflineModeIsEnabled):
            return switched_off()
        if isinstance(each, hub.GatedRepoError):
            return HubError("gated", "its owners give access on request", where=name, todo=ask)
        if isinstance(each, hub.RevisionNotFoundError):
            return HubError("revision", f"it has no revision {place.revision!r}", where=name, todo="see its page")
        if isinstance(each, hub.RepositoryNotFoundError):
            todo = f"look for its name at {_page('', model)}; for a private one, {_token()}"
            what = f"there is no such {'model' if model else 'data set'}, or it is private"
            return HubError("missing", what, where=name, todo=todo)
        if "scripts are no longer supported" in text:
            what = "it is only a script, which `datasets` does not run any more"
            return HubError("scripts", what, where=name, todo="look for a copy of it as Parquet files")
        if isinstance(each, DataFilesNotFoundError):
            return HubError("missing", "there are no data files in it", where=name, todo="see its page")
        if status in (401, 403):
            return HubError("gated", f"the hub refuses to give it (error {status})", where=name, todo=ask)
        if status == 404:
            return HubError("missing", "the hub does not have it (error 404)", where=name, todo="see its page")
        if status:
            return HubError("failing", f"the hub answers with error {status}", where=name, todo=LATER)
    if isinstance(error, UnicodeDecodeError):
        todo = "fetch the file and name its path as source.corpus: its encoding is found then"
        return HubError("damaged", f"{file or 'its text'} is not UTF-8", where=name, todo=todo)
    if isinstance(error, OSError) and error.errno in _DISK:
        what = f"the cache of `huggingface_hub` cannot be written: {error.strerror}"
        return HubError("failing", what, where=str(error.filename or ""), todo="free some space or move it by HF_HOME")
    first = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return HubError("damaged", f"{file or 'it'} cannot be read: {first[:300]}", where=name, todo=LATER)


def switched_off() -> HubError:
    """HF_HUB_OFFLINE forbids to ask."""
    what = "the environment says to stay offline (HF_HUB_OFFLINE is set), so that the hub is not asked"
    return HubError("switched off", what, todo=f"unset it, {WITHOUT}")


def offline(why: str) -> HubError:
    """Nothing has answered."""
    from huggingface_hub import constants

    what = f"{constants.ENDPOINT} cannot be reached ({why})"
    return HubError("offline", what, todo=f"connect to the internet and resume, {WITHOUT}")


def none_left(corpus: str, failed: list[tuple[Place, HubError]]) -> HubError:
    """Every place was tried: each with its reason, a line each, and what to do."""
    last = failed[-1][1]
    if len(failed) == 1 or last.kind in ("offline", "switched off"):
        return last
    lines = [f"{place.repository}@{place.revision}: {trouble.what}" for place, trouble in failed]
    todo = list(dict.fromkeys(trouble.todo for _, trouble in failed if trouble.todo))
    return HubError(
        last.kind,
        "\n        ".join([f"{corpus} could be had from none of its {len(lines)} places:", *lines]),
        todo="; ".join(todo),
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """`error` and what it was raised from or while handling, each once."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _page(name: str, model: bool) -> str:
    from huggingface_hub import constants

    folder = "" if model and name else "models/" if model else "datasets/"
    return redact(f"{constants.ENDPOINT}/{folder}{name}".rstrip("/"))


def _token() -> str:
    from huggingface_hub import get_token

    if get_token():
        return "see with `hf auth whoami` whether your token is still good for it"
    return "put a token of yours into HF_TOKEN or log in with `hf auth login`"


def _ask(name: str, model: bool) -> str:
    return f"ask for access at {_page(name, model)}, then {_token()}"
