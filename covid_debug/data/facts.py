"""The facts of film files, kept while a data set is made, whoever read the file.

Owns their form on disk. What is read is in :mod:`covid_debug.data.fingerprints`, what follows from
it in :mod:`covid_debug.data.ingest`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from covid_debug.artifacts import artifact_key
from covid_debug.data.fingerprints import FilmFacts, examine_film
from covid_debug.errors import DataIntegrityError
from covid_debug.pool import run_in_order
from covid_debug.shards import NAME, Record, Records
from covid_debug.stages import Means, lose_film, work_on_films

_CODE_VERSION: Final = 1
_REASON: Final = "reason"


def keep_facts(files: Sequence[Path], out: Path, means: Means) -> Records:
    """Read film files, each once, and keep what they say beside the data set that is being made.

    Args:
        files: The files, each once.
        out: The data set.
        means: How it is carried out.

    Returns:
        The facts, for :func:`read_facts`; remove them when the data set stands.

    Raises:
        ShardFinished: If ``means`` ask for a shard, and it did its part.
    """
    by_name = {str(file): file for file in files}

    def work(names: Sequence[str], _: Path) -> Iterator[Record]:
        return run_in_order(
            examine,
            (by_name[name] for name in names),
            means.n_workers,
            where="ingest",
            lose=lambda file, reason: lose_film(str(file), reason),
        )

    key = artifact_key("facts", _CODE_VERSION, None, [_identify(file) for file in files])
    return work_on_films(out, key, list(by_name), work, means, refuse=_refuse)


def read_facts(records: Records, file: Path) -> FilmFacts | str:
    """Return the facts of a file, or why it cannot be used."""
    record: dict[str, Any] = {
        key: value for key, value in records[str(file)].items() if key != NAME
    }
    if _REASON in record:
        return str(record[_REASON])
    record |= {
        "perceptual_hash": bytes.fromhex(record["perceptual_hash"]),
        "window": tuple(record["window"]),
    }
    return FilmFacts(**record)


def examine(file: Path) -> Record:
    """Return the record of a file: its facts, or why it cannot be used."""
    try:
        facts = examine_film(file)
    except DataIntegrityError as error:
        return _refuse(str(file), str(error))
    return {NAME: str(file), **asdict(facts), "perceptual_hash": facts.perceptual_hash.hex()}


def _refuse(name: str, reason: str) -> Record:
    return {NAME: name, _REASON: reason}


def _identify(file: Path) -> tuple[str, int, int]:
    try:
        facts = file.stat()
    except OSError:
        return str(file), 0, 0
    return str(file), facts.st_size, facts.st_mtime_ns
