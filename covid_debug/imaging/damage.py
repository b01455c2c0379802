"""What readers raise on a damaged or lying file, as one error that names it."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import cv2
from PIL import Image
from pydicom.errors import BytesLengthException, InvalidDicomError

from covid_debug.errors import DataIntegrityError
from covid_debug.shown import to_printable

REMEDY: Final = "replace the file or take it off the list"
# Anything else is a fault of ours and must surface.
DECODER_ERRORS: Final = (
    OSError,
    ValueError,
    SyntaxError,
    LookupError,
    AttributeError,
    TypeError,
    EOFError,
    RuntimeError,
    MemoryError,
    OverflowError,
    struct.error,
    zlib.error,
    cv2.error,
    BytesLengthException,
    InvalidDicomError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
_MAX_REASON: Final = 200


class RefusedError(Exception):
    """A file that is readable and yet not one film; the message lacks only the path."""


@contextmanager
def damage_named(name: str, what: str = "cannot be decoded") -> Iterator[None]:
    """Raise what a file does to its reader as one error.

    Args:
        name: What the film is called.
        what: What could not be done.

    Yields:
        Nothing; the file is read inside.

    Raises:
        DataIntegrityError: On one line, with film, reason and remedy.
    """
    try:
        yield
    except DataIntegrityError:
        raise
    except RefusedError as error:
        raise DataIntegrityError(f"{name}: {error}") from error
    except DECODER_ERRORS as error:
        reason = tell_reason(error)
        raise DataIntegrityError(
            f"{name}: {what} ({reason}); expected a complete image; {REMEDY}"
        ) from error


def tell_reason(error: BaseException) -> str:
    """Return the first words of an error: some libraries put a whole traceback into theirs."""
    first = str(error).split("\nTraceback ", maxsplit=1)[0]
    return to_printable(" ".join(first.split()))[:_MAX_REASON] or type(error).__name__
