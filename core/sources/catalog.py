"""The kinds of sources, and what a source's name means. Imports nothing heavy: the command line and forms use it."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from core.errors import UsageError, did_you_mean
from core.sources.corpora import CORPORA, corpus_locations
from core.storage.workspace import name_from

BUILT_IN = ("stdlib", "stories")
"""Corpora that need no download."""

PRIVATE_URLS = "LLMTUI_ALLOW_PRIVATE_URLS"
"""Environment variable that allows plain http and private addresses, for servers on the local network."""

Kind = Literal["built in", "hub", "url", "path"]

_URL_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_KINDS_HELP = (
    f"a source is {', '.join(map(repr, BUILT_IN))}, 'hf:NAME' (a data set of the Hugging Face hub), "
    "an https URL, or the path of a file, of a folder, or a pattern such as 'books/*.txt'"
)
_COMPRESSION_SUFFIXES = (".gz", ".zst", ".xz", ".bz2")
_WILDCARDS = re.compile(r"\[[^\]]*\]|[*?]")
"""The wildcards of a glob pattern."""


class UnknownSourceError(UsageError):
    """The source is no built-in corpus, no existing path and no valid URL."""

    doing = "find the source"


def kind_of(corpus: str) -> Kind:
    """The kind of source that `corpus` names. An existing file takes precedence over a URL or hub name."""
    if corpus in BUILT_IN:
        return "built in"
    if corpus.startswith("hf:"):
        return "path" if _exists(corpus) else "hub"
    return "url" if _URL_SCHEME.match(corpus) and not _exists(corpus) else "path"


def absolute(corpus: str, folder: Path | None = None) -> str:
    """`corpus` with a path made absolute, relative to `folder` or the working directory; other kinds unchanged."""
    if kind_of(corpus) != "path":
        return corpus
    # not pathlib's, which raises if there is no such user; then the name is used literally
    expanded = os.path.expanduser(corpus)  # noqa: PTH111
    path = os.path.abspath((folder or Path()) / expanded)  # noqa: PTH100 it also resolves ".."
    if _exists(path) or not glob.has_magic(corpus) or Path(corpus).is_absolute():
        return path
    # brackets in the name of the folder itself are literal
    return os.path.abspath(Path(glob.escape(str((folder or Path()).absolute()))) / expanded)  # noqa: PTH100


def is_pattern(path: str) -> bool:
    """Whether an absolute path is a glob pattern, not an existing file."""
    return glob.has_magic(path) and not _exists(path)


def resolve_corpus(corpus: str) -> str:
    """`corpus` as a run stores it: a built-in name, a URL, a hub name, or an absolute path or pattern.

    Raises UnknownSourceError or CorpusError, with the nearest valid name, if it cannot be found.
    """
    kind = kind_of(corpus)
    if kind == "url":
        return check_url(corpus)
    if kind == "hub":
        corpus_locations(corpus)
    path = absolute(corpus)
    if kind != "path":
        return path
    if any("\ud800" <= character <= "\udfff" for character in path):
        todo = "rename the file or folder"
        raise UnknownSourceError(
            "its path is not UTF-8 text, which is all that a recipe can hold", where=path, todo=todo
        )
    if is_pattern(path):
        # `**` is matched when the source is listed: it may match the whole file system
        if "**" not in path and next(glob.iglob(path), None) is None:  # noqa: PTH207 the pattern is absolute
            raise UnknownSourceError(f"nothing matches {corpus!r}", where="source.corpus", todo=_KINDS_HELP)
        return path
    try:
        if Path(path).is_dir() and next(Path(path).iterdir(), None) is None:
            todo = "name a text file or a folder with text files in it"
            raise UnknownSourceError("the folder is empty", where=path, todo=todo)
        Path(path).lstat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise _unknown(corpus, Path(path)) from None
    except OSError:  # it may exist: reading it reports the error
        pass
    return path


def private_urls_allowed() -> bool:
    """Whether plain http and private addresses are allowed."""
    return os.environ.get(PRIVATE_URLS) == "1"


def check_url(url: str) -> str:
    """Return `url` if it may be requested. Raises UnknownSourceError, whose message contains no password."""
    shown = redact_url(url)
    scheme = url.partition(":")[0].lower()
    if scheme not in ("http", "https"):
        raise UnknownSourceError(
            f"an address that begins with {scheme!r} cannot be read", where=shown, todo=_KINDS_HELP
        )
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise UnknownSourceError("it is no valid URL", where=shown, todo=_KINDS_HELP) from None
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
        raise UnknownSourceError("it is no valid URL", where=shown, todo=_KINDS_HELP)
    return url


def redact_url(url: str) -> str:
    """`url` for messages and journals: without user name, password, query and fragment, which may hold secrets."""
    url = url.partition("#")[0].partition("?")[0]
    return re.sub(r"^([^/]*//)[^/]*@", r"\1", url)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def _unknown(corpus: str, path: Path) -> UnknownSourceError:
    try:
        siblings = [entry.name for entry in os.scandir(path.parent) if not entry.name.startswith(".")]
    except (OSError, ValueError):
        siblings = []
    hint = "did you mean " + repr(f"hf:{corpus.lower()}") + "?" if corpus.lower() in CORPORA else ""
    hint = hint or did_you_mean(path.name, [*BUILT_IN, *siblings])
    return UnknownSourceError(
        f"{corpus!r} is not built in, and there is no such file or folder",
        where="source.corpus",
        todo=f"{hint} A{_KINDS_HELP.removeprefix('a')}" if hint else _KINDS_HELP,
    )


def source_name(corpus: str) -> str:
    """The name of a run or artifact made from `corpus`: `tinystories` for hf:roneneldan/TinyStories@main, `books` for
    books/**/*.txt. It is the last component of the path with a letter or digit outside of wildcards."""
    kind = kind_of(corpus)
    if kind == "hub":
        parts = corpus.removeprefix("hf:").partition("@")[0].split("/")
        return next(filter(None, (name_from(part, "") for part in reversed(parts))), "text")
    if kind == "url":
        # not urlsplit, which raises on an unmatched bracket: `check_url` reports invalid URLs
        host, _, path = re.split(r"[?#]", corpus.partition("://")[2])[0].partition("/")
        path, parents = unquote(path), [host.rpartition("@")[2]]
    else:
        path, parents = absolute(corpus), []
    names = [_WILDCARDS.sub("", _stem(part)) if glob.has_magic(path) else _stem(part) for part in path.split("/")]
    return next(filter(None, (name_from(name, "") for name in reversed([*parents, *names]))), "text")


def _stem(name: str) -> str:
    """A file name without the suffixes of its format and compression."""
    for suffix in _COMPRESSION_SUFFIXES:
        name = name.removesuffix(suffix)
    return Path(name).stem
