"""Names and words out of strangers' files, harmless where people read them.

Owns what is shown instead of characters that act on a terminal, a table or a page.
"""

import html
import re
import warnings

# Control characters, what turns the direction of text, and what stands for bytes that are no UTF-8.
_ACTING = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# What OWASP names under "CSV injection", behind marks that were there before or are from here.
_FORMULA = re.compile("'*[=+\\-@\t\r]")


def to_printable(text: object) -> str:
    """Return text as one line that can be printed; what cannot is shown as escapes."""
    return _ACTING.sub(_escape, str(text))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name
        code -= 0xDC00
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"


def to_markdown(text: object) -> str:
    """Return text on one line that Markdown, and HTML in it, shows as it is."""
    line = to_printable(" ".join(str(text).split()))
    return re.sub(r"([\\`*\[|])", r"\\\1", html.escape(line, quote=False))


def to_cell(text: str) -> str:
    """Return text that a spreadsheet takes for text, never for a formula; others are unchanged."""
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(cell: str) -> str:
    """Return what :func:`to_cell` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def hush_readers() -> None:
    """Silence what libraries remark about a file: what matters is said by name, on one line."""
    warnings.filterwarnings("ignore", module=r"pydicom|PIL")
