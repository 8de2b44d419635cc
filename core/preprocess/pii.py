"""Cleaning steps that replace URLs, e-mail addresses and phone numbers by placeholders.

All patterns match in linear time: repetitions are bounded, or start only after a character of another class.
"""

from __future__ import annotations

import re

_URL = re.compile(r"(?:https?://|ftp://|(?<![\w.])www\.)[^\s<>\"]*[^\s<>\".,;:!?'()\[\]{}]", re.IGNORECASE)
_EMAIL = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w@+-]|\.\w)",
)
# international with a plus; (555) 123-4567; 555-123-4567 and 555.123.4567. Other groups of digits are as often dates
_PHONE = re.compile(
    r"(?<![\w.+(-])(?:"
    r"\+(?=(?:[ .()-]{0,2}\d){8,15}(?!\d))\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,5}"
    r"|\(\d{3}\) ?\d{3}-\d{4}|\d{3}([.-])\d{3}\1\d{4}"
    r")(?![\w+(-])",
    re.ASCII,
)


def urls(text: str, _last_flags: bool) -> str:
    """`<url>` for URLs that begin with http://, https://, ftp:// or www."""
    return _URL.sub("<url>", text) if "://" in text or "www." in text.lower() else text


def emails(text: str, _last_flags: bool) -> str:
    """`<email>` for name@host.domain."""
    return _EMAIL.sub("<email>", text) if "@" in text else text


def phones(text: str, _last_flags: bool) -> str:
    """`<phone>` for +44 20 7946 0958, (555) 123-4567, 555-123-4567 and 555.123.4567."""
    return _PHONE.sub("<phone>", text)
