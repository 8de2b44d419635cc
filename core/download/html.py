"""The text of a web page."""

from __future__ import annotations

import codecs
import re

from core.download.compression import FileStream
from core.download.discover import UnreadableError
from core.download.encoding import decode, detect_encoding, ensure_decodable, is_utf8

HTML_BYTES = 16 * 2**20
"""A page is parsed as a whole: larger ones are refused."""
TOO_LARGE = f"HTML of more than {HTML_BYTES // 2**20} MiB"
_DECLARED = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([\w.:-]{2,40})""", re.IGNORECASE)


def read_html(stream: FileStream, encoding: str, where: str) -> tuple[str, int]:
    """The text of the page in `stream`, and how many characters stand for bytes which mean nothing.

    Raises UnreadableError for what no parser takes, EncodingError.
    """
    from inscriptis import get_text
    from lxml.etree import LxmlError

    data = stream.read(HTML_BYTES + 1)
    if len(data) > HTML_BYTES:
        raise UnreadableError(TOO_LARGE, where=where)
    page = decode(data, encoding, final=True)
    ensure_decodable(page, encoding, where)
    try:
        # lxml takes no NUL, and no declaration of an encoding in front of what is decoded
        html = re.sub(r"^\s*<\?xml[^>]*>", "", page.text.removeprefix("\ufeff").replace("\0", ""))
        return (get_text(html) if html.strip() else ""), page.replaced
    except (LxmlError, ValueError, RecursionError, AssertionError) as error:
        raise UnreadableError(f"its HTML cannot be parsed ({type(error).__name__}: {error})", where=where) from None


def declared_encoding(head: bytes, given: str = "") -> str:
    """The encoding of a page: by its first bytes where they leave no doubt, as it says, or as it looks.

    given: what a person says it is.
    """
    looks = detect_encoding(head, max_nul_share=0.1, declared=given)
    said = _DECLARED.search(head[:4096])
    sure = (looks == "utf-8" and not head.isascii() and is_utf8(head)) or looks.startswith(("utf-16", "utf-32"))
    if given or not said or not looks or sure:
        return looks
    try:
        name = codecs.lookup(said[1].decode("ascii").lower()).name
        decode(b"<p>", name, final=True)
    except (LookupError, TypeError, NotImplementedError, ValueError):
        return looks
    if name.startswith("utf-16"):  # then what says so could not have been read
        return looks
    # the web means Windows' extension by either name
    return "cp1252" if name in ("iso8859-1", "ascii") else name
