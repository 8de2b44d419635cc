"""Which sources there are, and where one lies. Light: the command line and the forms ask before a run starts."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from core.errors import UsageError, did_you_mean
from core.sources.corpora import CORPORA, places
from core.storage.workspace import name_from

BUILT_IN = ("stdlib", "stories")
"""Corpora that are on every machine."""

PRIVATE_URLS = "LLMTUI_ALLOW_PRIVATE_URLS"
"""Environment variable that lifts the guards on URLs, for labs with servers of their own."""

Kind = Literal["built in", "hub", "url", "path"]

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_KNOWN = (
    f"a source is {', '.join(map(repr, BUILT_IN))}, 'hf:NAME' (a data set of the Hugging Face hub), "
    "an https URL, or the path of a file, of a folder, or a pattern such as 'books/*.txt'"
)
_COMPRESSED = (".gz", ".zst", ".xz", ".bz2")
_WILD = re.compile(r"\[[^\]]*\]|[*?]")
"""What stands for other characters in a pattern."""


class UnknownSourceError(UsageError):
    """The source is neither built in nor on the disk, nor an address that can be read."""

    doing = "find the source"


def kind_of(corpus: str) -> Kind:
    """What sort of source the name means; a file that is really called like an address goes first."""
    if corpus in BUILT_IN:
        return "built in"
    if corpus.startswith("hf:"):
        return "path" if _exists(corpus) else "hub"
    return "url" if _ADDRESS.match(corpus) and not _exists(corpus) else "path"


def absolute(corpus: str, folder: Path | None = None) -> str:
    """`corpus` for processes that work in another directory; a relative path starts from `folder` or from here."""
    if kind_of(corpus) != "path":
        return corpus
    # not pathlib's, which raises if there is no such user; then the name is used literally
    expanded = os.path.expanduser(corpus)  # noqa: PTH111
    place = os.path.abspath((folder or Path()) / expanded)  # noqa: PTH100 it also resolves ".."
    if _exists(place) or not glob.has_magic(corpus) or Path(corpus).is_absolute():
        return place
    # the brackets of a folder's own name are no pattern
    return os.path.abspath(Path(glob.escape(str((folder or Path()).absolute()))) / expanded)  # noqa: PTH100


def is_pattern(place: str) -> bool:
    """Whether an absolute path means the files that match it."""
    return glob.has_magic(place) and not _exists(place)


def resolve_corpus(corpus: str) -> str:
    """`corpus` as a run needs it: a built-in name, an address, or the absolute path or pattern of what is there.

    Raises UnknownSourceError or CorpusError with the nearest right name.
    """
    kind = kind_of(corpus)
    if kind == "url":
        return check_url(corpus)
    if kind == "hub":
        places(corpus)
    place = absolute(corpus)
    if kind != "path":
        return place
    if any("\ud800" <= character <= "\udfff" for character in place):
        todo = "rename the file or folder"
        raise UnknownSourceError(
            "its path is not UTF-8 text, which is all that a recipe can hold", where=place, todo=todo
        )
    if is_pattern(place):
        # `**` is matched when the source is listed: it may match the whole file system
        if "**" not in place and next(glob.iglob(place), None) is None:  # noqa: PTH207 the pattern is absolute
            raise UnknownSourceError(f"nothing matches {corpus!r}", where="source.corpus", todo=_KNOWN)
        return place
    try:
        Path(place).lstat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise _unknown(corpus, Path(place)) from None
    except OSError:  # it may exist: reading it reports the error
        pass
    return place


def private_urls_allowed() -> bool:
    """Whether plain http and addresses inside the own network may be read."""
    return os.environ.get(PRIVATE_URLS) == "1"


def check_url(url: str) -> str:
    """`url` itself when it may be asked for. Raises UnknownSourceError, without repeating what may be a password."""
    shown = redact_url(url)
    scheme = url.partition(":")[0].lower()
    if scheme not in ("http", "https"):
        raise UnknownSourceError(f"an address that begins with {scheme!r} cannot be read", where=shown, todo=_KNOWN)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise UnknownSourceError("it is no valid URL", where=shown, todo=_KNOWN) from None
    if "@" in parts.netloc:
        raise UnknownSourceError(
            f"there is a user name or password in the URL ({shown})",
            where="source.corpus",
            todo="leave it out: a recipe is kept and shown; fetch the file yourself and name it here",
        )
    if scheme == "http" and not private_urls_allowed():
        raise UnknownSourceError(
            "what comes over plain http can be changed on its way",
            where=shown,
            todo=f"use https://, or set {PRIVATE_URLS}=1 for a server you trust",
        )
    if not host or re.search(r"[\x00-\x20\x7f]", url):
        raise UnknownSourceError("it is no valid URL", where=shown, todo=_KNOWN)
    return url


def redact_url(url: str) -> str:
    """A URL for people and journals: without a password, and without the query, which may be as good as one."""
    url = url.partition("#")[0].partition("?")[0]
    return re.sub(r"^([^/]*//)[^/]*@", r"\1", url)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def _unknown(corpus: str, path: Path) -> UnknownSourceError:
    try:
        beside = [entry.name for entry in os.scandir(path.parent) if not entry.name.startswith(".")]
    except (OSError, ValueError):
        beside = []
    hint = "did you mean " + repr(f"hf:{corpus.lower()}") + "?" if corpus.lower() in CORPORA else ""
    hint = hint or did_you_mean(path.name, [*BUILT_IN, *beside])
    return UnknownSourceError(
        f"{corpus!r} is not built in, and there is no such file or folder",
        where="source.corpus",
        todo=f"{hint}; {_KNOWN}" if hint else _KNOWN,
    )


def source_name(corpus: str) -> str:
    """What to call what is made from `corpus`: `tinystories` from hf:roneneldan/TinyStories@main, `books` from
    books/**/*.txt. Its last part with a letter or digit of its own decides."""
    kind = kind_of(corpus)
    if kind == "hub":
        parts = corpus.removeprefix("hf:").partition("@")[0].split("/")
        return next(filter(None, (name_from(part, "") for part in reversed(parts))), "text")
    if kind == "url":
        # not urlsplit, which raises where a bracket is open: what is wrong with an address is said by `check_url`
        host, _, path = re.split(r"[?#]", corpus.partition("://")[2])[0].partition("/")
        place, above = unquote(path), [host.rpartition("@")[2]]
    else:
        place, above = absolute(corpus), []
    names = [_WILD.sub("", _stem(part)) if glob.has_magic(place) else _stem(part) for part in place.split("/")]
    return next(filter(None, (name_from(name, "") for name in reversed([*above, *names]))), "text")


def _stem(name: str) -> str:
    """A file's name without the suffixes that say how it is written."""
    for suffix in _COMPRESSED:
        name = name.removesuffix(suffix)
    return Path(name).stem
