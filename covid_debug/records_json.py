"""Frozen dataclasses to and from JSON: the one way for every artifact.

A record is written field by field, in the order of its fields; NaN is written as ``null``. It is
read back strictly: a key that is missing or of another type is one error that names file, key and
remedy; keys that the record does not have are ignored. The owner of a file calls this module,
nobody else opens the file.
"""

import dataclasses
import functools
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

from covid_debug.errors import ArtifactError, CovidDebugError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

_MAX_DIGITS = 18


class _NullIsNan:
    def __get_pydantic_core_schema__(self, source: object, handler: Any) -> object:  # noqa: ANN401
        from pydantic_core import core_schema  # noqa: PLC0415  slow to import

        return core_schema.no_info_before_validator_function(
            lambda value: math.nan if value is None else value, handler(source)
        )


Number = Annotated[float, _NullIsNan()]
"""A number that may be undefined: NaN in memory, ``null`` in a file."""


def to_plain(value: object) -> Any:  # noqa: ANN401  what json.dumps takes
    """Return what ``json.dumps`` takes: dataclasses and mappings as dicts, NaN as None."""
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if dataclasses.is_dataclass(value):
        names = (field.name for field in dataclasses.fields(value))
        return {name: to_plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return value


def write_record(path: Path, record: object, *, indent: int = 2, ascii_only: bool = True) -> None:
    """Write a record, or a tuple of records, as one JSON value."""
    text = json.dumps(to_plain(record), indent=indent, ensure_ascii=ascii_only, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def write_lines(path: Path, records: Iterable[object]) -> None:
    """Write records as JSON lines."""
    lines = (json.dumps(to_plain(r), ensure_ascii=False, allow_nan=False) + "\n" for r in records)
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


def read_record(
    path: Path,
    kind: type[T],
    *,
    broken: str,
    remedy: str,
    error: type[CovidDebugError] = ArtifactError,
) -> T:
    """Read what :func:`write_record` wrote.

    Args:
        path: The file.
        kind: A dataclass, or a type made of dataclasses such as ``tuple[Row, ...]``.
        broken: What a file that cannot be read is called, e.g. ``"is not a readable proof"``.
        remedy: What to do then, e.g. ``"prove the cleaning again"``.
        error: Class of the error.

    Returns:
        The record.

    Raises:
        CovidDebugError: ``error``, naming file, key and remedy.
    """
    return _parse(_read_text(path, broken, remedy, error), kind, path, broken, remedy, error)


def read_lines(path: Path, kind: type[T], *, broken: str, remedy: str) -> tuple[T, ...]:
    """Read what :func:`write_lines` wrote; empty lines are skipped.

    Args:
        path: The file.
        kind: A dataclass.
        broken: As for :func:`read_record`.
        remedy: As for :func:`read_record`.

    Returns:
        The records, in the order of the lines.

    Raises:
        ArtifactError: Naming file, line, key and remedy.
    """
    lines = _read_text(path, broken, remedy, ArtifactError).split("\n")
    return tuple(
        _parse(line, kind, path, broken, remedy, ArtifactError, where=f"line {number}, ")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    )


def parse_plain(value: object, kind: type[T]) -> T:
    """Return the record that :func:`to_plain` made plain.

    Raises:
        ValueError: If it is of another kind.
    """
    record: T = _adapter(cast("Any", kind)).validate_json(json.dumps(value), strict=True)
    return record


def parse_json(text: str) -> Any:  # noqa: ANN401
    """Parse JSON that a person or another tool may have written.

    Args:
        text: One value.

    Returns:
        The value; all numbers in it are finite and fit into 64 bits, all its texts are Unicode.

    Raises:
        ValueError: If it is another thing, or nested too deeply.
    """
    try:
        value = json.loads(
            text, parse_constant=_to_number, parse_float=_to_number, parse_int=_to_integer
        )
        if "\\u" in text:  # half of a pair can be written so, and be encoded by nobody
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    return value


def _to_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no finite number")
    return number


def _to_integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a whole number has {len(text)} digits")
    return int(text)


def _read_text(path: Path, broken: str, remedy: str, error: type[CovidDebugError]) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as problem:
        raise error(f"{path}: {broken} ({problem.strerror}); {remedy}") from problem
    except UnicodeDecodeError as problem:
        raise error(f"{path}: {broken} (is no UTF-8 text); {remedy}") from problem


def _parse(
    text: str,
    kind: type[T],
    path: Path,
    broken: str,
    remedy: str,
    error: type[CovidDebugError],
    where: str = "",
) -> T:
    from pydantic import ValidationError  # noqa: PLC0415  slow to import

    try:
        record: T = _adapter(cast("Any", kind)).validate_json(text, strict=True)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise error(f"{path}: {broken} ({where}{key}: {first['msg']}); {remedy}") from problem
    return record


@functools.lru_cache
def _adapter(kind: Any) -> "TypeAdapter[Any]":  # noqa: ANN401  types that mypy knows no name for
    from pydantic import TypeAdapter  # noqa: PLC0415  slow to import

    return TypeAdapter(kind)
