"""The exceptions that users see, and the sentence made of them.

Each module raises its own subclass of `LlmtuiError`, which carries facts; `LlmtuiError.sentence` formats them.
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
    """Base class of errors that the user can act on.

    what: what happened, a clause that reads after "cannot train: ". where: file, field or step. kept: which results
    are safe. todo: what to do next. Each may quote untrusted text; `llmtui.view.sanitize` escapes it before display.
    """

    exit_code: ClassVar[int] = 1
    doing: ClassVar[str] = "continue"
    """The failed operation, an infinitive: "cannot {doing}: {what}"."""

    def __init__(self, what: str, *, where: str = "", kept: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.kept, self.todo = what, where, kept, todo

    def sentence(self) -> str:
        """The error message: one line, then `kept` and `todo` on a line each."""
        lines = [f"cannot {self.doing}: {self.what}" + (f"   ({self.where})" if self.where else "")]
        lines += [line for line in (self.kept, self.todo) if line]
        return "\n        ".join(lines)


class UsageError(LlmtuiError):
    """The request itself is invalid: a recipe, a name, an option."""

    exit_code = 2


class BusyError(LlmtuiError):
    """Another process uses the resource; a retry later may succeed."""

    exit_code = 75


_ELSEWHERE = "set LLMTUI_HOME to another directory"
_DISK_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), f"free some space or {_ELSEWHERE}, then resume"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), f"change who may write there, or {_ELSEWHERE}"),
    errno.EROFS: f"make it writable, or {_ELSEWHERE}",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "let it have more files open (ulimit -n), then resume"),
    errno.EFBIG: "let it write larger files (ulimit -f), then resume",
    **dict.fromkeys(
        (errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.EEXIST),
        f"see what is there, or {_ELSEWHERE}",
    ),
}


class DiskError(LlmtuiError):
    """The disk is full, read-only or failing."""

    doing = "write"

    @classmethod
    def from_oserror(cls, error: OSError, path: object, kept: str = "") -> DiskError:
        """The DiskError of `error`, raised while `path` was written. kept: which results are safe."""
        reason = error.strerror or str(error)
        return cls(
            reason[:1].lower() + reason[1:],
            where=str(path),
            kept=kept,
            todo=_DISK_ADVICE.get(error.errno or 0, f"`llmtui doctor` checks the disk; or {_ELSEWHERE}"),
        )


class ProcessKilledError(LlmtuiError):
    """A process was killed from outside: the work itself is valid and can be resumed."""

    exit_code = 4


class HostMemoryError(LlmtuiError):
    """The main memory, or the limit of this process, is exhausted."""

    @classmethod
    def from_limits(cls, kept: str = "") -> HostMemoryError:
        """The error with the limit set by `ulimit -v`, if there is one."""
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit == resource.RLIM_INFINITY:
            return cls("memory ran out", kept=kept, todo="free some memory, or take a smaller model or batch")
        return cls(
            f"memory ran out: this process may have {limit / 2**30:.1f} GiB (ulimit -v)",
            kept=kept,
            todo="raise that limit, or take a smaller model or batch",
        )


OUT_OF_MEMORY_MESSAGES = (
    *("allocate memory", "out of memory", "bad_alloc", "memory allocation of", "failed to map segment"),
    *("_STATUS_ALLOC_FAILED", "can't start new thread", "Failed to launch worker thread"),
)
"""Messages of allocators, loaders and libraries that have no exception class for it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` reports that memory is exhausted."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno == errno.ENOMEM
    # the classes of torch and Arrow by name: this module imports neither
    kind = type(error).__name__
    if isinstance(error, MemoryError) or kind == "OutOfMemoryError":
        return True
    has_message = isinstance(error, RuntimeError | ImportError | OSError) or kind == "ArrowException"
    return has_message and any(message in str(error) for message in OUT_OF_MEMORY_MESSAGES)


def log(text: str) -> None:
    """Write `text` to standard error, which in child processes is a log file. Ignores a full disk."""
    with contextlib.suppress(OSError):
        sys.stderr.write(text.rstrip("\n") + "\n")
        sys.stderr.flush()


def as_llmtui_error(error: BaseException, path: object = "") -> LlmtuiError:
    """`error` as an LlmtuiError. path: the file in use, for an OSError without a file name."""
    if isinstance(error, LlmtuiError):
        return error
    if is_out_of_memory(error):
        return HostMemoryError.from_limits()
    if isinstance(error, OSError):
        return DiskError.from_oserror(error, error.filename or path)
    return UnexpectedError(f"an unexpected error: {type(error).__name__}: {error}")


class UnexpectedError(LlmtuiError):
    """A bug in this program; the caller logs the traceback."""


def did_you_mean(name: str, names: Iterable[str], form: str = "{}") -> str:
    """ "did you mean X?" with the closest of `names`, or "" if none is close. form: format string for the name."""
    by_lower = {known.lower(): known for known in names}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f"did you mean {form.format(by_lower[close[0]])!r}?" if close else ""
