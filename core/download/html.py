"""The text of a web page."""

from __future__ import annotations

import codecs
import re

from core.download.compression import FileStream
from core.download.discover import UnreadableError
from core.download.encoding import ensure_decodable
from core.text_encoding import decode, detect_encoding, is_utf8

HTML_BYTES = 16 * 2**20
"""Maximum size of a page, which is parsed as a whole."""
TOO_LARGE = f"HTML of more than {HTML_BYTES // 2**20} MiB"
_DECLARED = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([\w.:-]{2,40})""", re.IGNORECASE)


def read_html(stream: FileStream, encoding: str, where: str) -> tuple[str, int]:
    """The text of the page in `stream`, and the number of undecodable bytes replaced by U+FFFD.

    Raises UnreadableError if the page is too large or cannot be parsed, EncodingError.
    """
    from inscriptis import get_text
    from lxml.etree import LxmlError

    data = stream.read(HTML_BYTES + 1)
    if len(data) > HTML_BYTES:
        raise UnreadableError(TOO_LARGE, where=where)
    page = decode(data, encoding, final=True)
    ensure_decodable(page, encoding, where)
    try:
        # lxml rejects NUL characters, and an XML declaration with an encoding in decoded text
        html = re.sub(r"^\s*<\?xml[^>]*>", "", page.text.removeprefix("\ufeff").replace("\0", ""))
        return (get_text(html) if html.strip() else ""), page.replaced
    except (LxmlError, ValueError, RecursionError, AssertionError) as error:
        raise UnreadableError(f"its HTML cannot be parsed ({type(error).__name__}: {error})", where=where) from None


def declared_encoding(head: bytes, given: str = "") -> str:
    """The encoding of a page: detected if that is certain, else as its `<meta>` declares, else the likeliest.

    head: the first bytes of the page. given: the encoding that the recipe sets, which takes precedence.
    """
    detected = detect_encoding(head, max_nul_share=0.1, declared=given)
    declaration = _DECLARED.search(head[:4096])
    is_certain = (detected == "utf-8" and not head.isascii() and is_utf8(head)) or detected.startswith(
        ("utf-16", "utf-32")
    )
    if given or not declaration or not detected or is_certain:
        return detected
    try:
        name = codecs.lookup(declaration[1].decode("ascii").lower()).name
        decode(b"<p>", name, final=True)
    except (LookupError, TypeError, NotImplementedError, ValueError):
        return detected
    if name.startswith("utf-16"):  # the declaration would be unreadable in it
        return detected
    # browsers decode both as windows-1252 (WHATWG Encoding Standard)
    return "cp1252" if name in ("iso8859-1", "ascii") else name
