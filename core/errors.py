"""Everything that can go wrong for a reason a person can understand.

Each room raises its own subclass, carrying facts; the sentence a person reads is made in `sentence` alone.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import resource
import sys
from collections.abc import Iterable
from typing import ClassVar


class LlmtuiError(Exception):
    """Something went wrong that the person in front of the screen can do something about.

    what: what happened, a clause that reads after "cannot train: ". where: file, field, step. kept: what is
    safe. todo: what to do next. Any of these may quote hostile text; whoever shows them sanitises.
    """

    exit_code: ClassVar[int] = 1
    doing: ClassVar[str] = "go on"
    """What could not be done, an infinitive: "cannot {doing}: {what}"."""

    def __init__(self, what: str, *, where: str = "", kept: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.kept, self.todo = what, where, kept, todo

    def sentence(self) -> str:
        """The message for a person: one line, then what was kept and what to do, a line each."""
        lines = [f"cannot {self.doing}: {self.what}" + (f"   ({self.where})" if self.where else "")]
        lines += [line for line in (self.kept, self.todo) if line]
        return "\n        ".join(lines)


class UsageError(LlmtuiError):
    """The request itself is wrong: a recipe, a name, an option."""

    exit_code = 2


class BusyError(LlmtuiError):
    """Somebody else is at it; trying again later may work."""

    exit_code = 75


_ELSEWHERE = "set LLMTUI_HOME to another place"
_DISK_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), f"free some space or {_ELSEWHERE}, then resume"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), f"change who may write there, or {_ELSEWHERE}"),
    errno.EROFS: f"make it writable, or {_ELSEWHERE}",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "let it have more files open (ulimit -n), then resume"),
    errno.EFBIG: "let it write larger files (ulimit -f), then resume",
    **dict.fromkeys(
        (errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.EEXIST),
        f"see what lies there, or {_ELSEWHERE}",
    ),
}


class DiskError(LlmtuiError):
    """The disk is full, read-only or failing."""

    doing = "write"

    @classmethod
    def of(cls, error: OSError, path: object, kept: str = "") -> DiskError:
        """The same trouble whatever was being written: `error` while writing to `path`."""
        reason = error.strerror or str(error)
        return cls(
            reason[:1].lower() + reason[1:],
            where=str(path),
            kept=kept,
            todo=_DISK_ADVICE.get(error.errno or 0, f"`llmtui doctor` looks at the disk; or {_ELSEWHERE}"),
        )


class ProcessKilledError(LlmtuiError):
    """It broke off from outside, as when a process is killed: nothing is wrong with what was to be done."""

    exit_code = 4


class HostMemoryError(LlmtuiError):
    """More memory was asked for than there is, or than this process may have."""

    @classmethod
    def here(cls, kept: str = "") -> HostMemoryError:
        """The same trouble wherever it ran out. Names the limit that `ulimit -v` has set, if it has."""
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit == resource.RLIM_INFINITY:
            return cls("memory ran out", kept=kept, todo="free some memory, or take a smaller model or batch")
        return cls(
            f"memory ran out: this process may have {limit / 2**30:.1f} GiB (ulimit -v)",
            kept=kept,
            todo="raise that limit, or take a smaller model or batch",
        )


OUT_OF_MEMORY = (
    *("allocate memory", "out of memory", "bad_alloc", "memory allocation of", "failed to map segment"),
    *("_STATUS_ALLOC_FAILED", "can't start new thread", "Failed to launch worker thread"),
)
"""In the words of other errors: allocators, loaders and libraries that have no class for it."""


def ran_out(error: BaseException) -> bool:
    """Whether `error` says that memory has run out."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno == errno.ENOMEM
    # classes of torch and of Arrow by their names: this is imported where neither is
    kind = type(error).__name__
    if isinstance(error, MemoryError) or kind == "OutOfMemoryError":
        return True
    speaks = isinstance(error, RuntimeError | ImportError | OSError) or kind == "ArrowException"
    return speaks and any(sign in str(error) for sign in OUT_OF_MEMORY)


def log(text: str) -> None:
    """Write `text` on standard error, which in a process of ours is a file.

    A full disk behind it keeps nobody from saying elsewhere what went wrong.
    """
    with contextlib.suppress(OSError):
        sys.stderr.write(text.rstrip("\n") + "\n")
        sys.stderr.flush()


def as_llmtui_error(error: BaseException, path: object = "") -> LlmtuiError:
    """What to say of `error`, whatever it is. path: of the file at work, for an OSError that names none."""
    if isinstance(error, LlmtuiError):
        return error
    if ran_out(error):
        return HostMemoryError.here()
    if isinstance(error, OSError):
        return DiskError.of(error, error.filename or path)
    return UnexpectedError(f"an error nobody foresaw: {type(error).__name__}: {error}")


class UnexpectedError(LlmtuiError):
    """A mistake of the program's own: whoever says it writes the traceback down."""


def nearest(name: str, names: Iterable[str], form: str = "{}") -> str:
    """ "did you mean X?", or nothing when no name is near. form: how a name is written where it is used."""
    there = {known.lower(): known for known in names}
    close = difflib.get_close_matches(name.lower(), there, n=1, cutoff=0.5)
    return f"did you mean {form.format(there[close[0]])!r}?" if close else ""
