"""Waiting in tests: until a condition holds, with a timeout for busy machines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NoReturn

import pytest

PATIENCE = 300.0
"""Timeout in seconds, which only failing tests reach: beside two other suites on two cores, starting a training has
taken 50."""

EVERY = 0.02
"""Seconds between two polls."""

refused: list[str] = []
"""Why a condition cannot hold: an application may have caught the exception that skips the test."""


def refuse(*_: object, **__: object) -> NoReturn:
    """Replaces functions that start a process, with `--quick`."""
    refused.append("it starts a process")
    pytest.skip(refused[0])


def wait_for(
    condition: Callable[[], object],
    seconds: float = PATIENCE,
    what: str = "",
    *,
    shows: Callable[[], str] | None = None,
    work: Callable[[], object] = lambda: time.sleep(EVERY),
) -> None:
    """Return as soon as `condition` holds; the test fails when it never does.

    what: what is waited for, and shows: a screen or a log, for whoever reads of the failure. work: what is done
    between two polls, such as reading from a terminal.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        _check(deadline, what or repr(condition), seconds, shows)
        work()


async def wait_until(
    condition: Callable[[], object],
    seconds: float = PATIENCE,
    what: str = "",
    *,
    shows: Callable[[], str] | None = None,
    rest: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """As `wait_for`, while an event loop runs. rest: lets it run for some seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        _check(deadline, what or repr(condition), seconds, shows)
        await rest(EVERY)


def _check(deadline: float, what: str, seconds: float, shows: Callable[[], str] | None) -> None:
    if refused:
        pytest.skip(refused[0])
    if time.monotonic() > deadline:
        pytest.fail(f"not within {seconds:.0f} s: {what}" + (f"\n{shows()}" if shows else ""))
