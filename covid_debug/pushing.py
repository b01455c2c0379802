"""Artifacts and shards to and from a URL, for machines that share a bucket and no folder.

Owns what lies there, and that nobody takes half of it for the whole: an object store puts single
objects whole, and renames nothing. No stage knows about URLs; what is pulled is a folder.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from covid_debug.artifacts import (
    MANIFEST_NAME,
    canonical_json,
    check_absent,
    hash_file,
    is_complete,
    list_files,
    open_draft,
    remove_partials,
)
from covid_debug.errors import ArtifactError
from covid_debug.object_store import Prefix, check_names, open_prefix
from covid_debug.places import find_obstacle
from covid_debug.progress import SILENT, Listener

_CLAIM_NAME: Final = ".contents"  # says of which artifact the objects beside it are, from the first
_RECORDS: Final = ".jsonl"
_SHA256: Final = re.compile("[0-9a-f]{64}")
_N_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class Moved:
    """What a push or pull did.

    Attributes:
        what: ``"artifact"``, ``"file"`` or ``"shards"``.
        n_files: Files that were sent or fetched.
        n_bytes: Their size.
        n_before: Files that were there already.
    """

    what: str
    n_files: int
    n_bytes: int
    n_before: int


def push(place: Path, url: str, listener: Listener = SILENT) -> Moved:
    """Put an artifact, or the finished films of one that is not merged yet, below a URL.

    Files come first and the manifest last, so that whoever finds it finds all. A killed push is
    repeated and sends what is missing.

    Args:
        place: An artifact, the text regions of ``detect-text``, or a name whose shards lie beside
            it.
        url: Anything fsspec opens, e.g. ``"s3://bucket/study/plus"``; the artifact's own name.
        listener: Who is told.

    Returns:
        What was sent.

    Raises:
        ArtifactError: If there is nothing to push, a file differs from its manifest, another
            artifact has that URL, or the store refuses.
        InputContractError: If it is no URL.
        MissingPackageError: If the package that reaches such a store is missing.
    """
    there = open_prefix(url)
    if is_complete(place):
        return _push_artifact(place, there, listener)
    if place.is_file() and place.suffix == _RECORDS:
        return _push_file(place, there)
    folders = [path for path in _listdir(place.parent) if _parse_shards(path.name, place.name)]
    if not folders or place.exists():
        raise ArtifactError(
            f"{place}: expected a finished artifact with its {MANIFEST_NAME}, a {_RECORDS} file of"
            " text regions, or the --out of shards that are not merged yet"
        )
    parts = [
        _push_shards(folder, there.beside(_parse_shards(folder.name, place.name)), listener)
        for folder in folders
    ]
    return _sum("shards", parts)


def pull(url: str, place: Path, listener: Listener = SILENT) -> Moved:
    """Fetch what :func:`push` put below a URL.

    An artifact is checked file by file and appears whole or not at all; shards come beside the
    place, where the stage's command finds and merges them.

    Args:
        url: As for :func:`push`.
        place: As for :func:`push`; the name need not be that of the URL.
        listener: Who is told.

    Returns:
        What was fetched.

    Raises:
        ArtifactError: If nothing is there, an object is missing or damaged, a key leads out of the
            folder, something else stands at the place, or the store refuses.
        InputContractError: If it is no URL.
        MissingPackageError: If the package that reaches such a store is missing.
    """
    there = open_prefix(url)
    obstacle = find_obstacle(place.parent)
    if obstacle is not None:
        raise ArtifactError(f"{place}: cannot be written ({obstacle}); name another place")
    manifest = there.read(MANIFEST_NAME)
    if manifest is not None:
        return _pull_artifact(manifest, there, place, listener)
    if there.name.endswith(_RECORDS) and there.is_object():
        return _pull_file(there, place)
    keys = [key for name in there.names_beside() if (key := _parse_shards(name, there.name))]
    if not keys:
        raise ArtifactError(
            f"{url}: no artifact, file of text regions or shards are there; look at the bucket and"
            " the name, and whether the push has ended"
        )
    check_absent(place)
    parts = [
        _pull_shards(there.beside(key), place.with_name(f".{place.name}.{key}"), listener)
        for key in sorted(keys)
    ]
    return _sum("shards", parts)


def _push_artifact(place: Path, there: Prefix, listener: Listener) -> Moved:
    manifest = (place / MANIFEST_NAME).read_bytes()
    files = _parse_manifest(manifest, str(place))
    _claim(there, _name_content(files))
    found = there.sizes()
    missing = [name for name in files if found.get(name) != _size(place / name)]

    def send(name: str) -> int:
        if hash_file(place / name) != files[name]:
            raise ArtifactError(f"{place / name}: differs from the manifest; make {place} again")
        there.put(place / name, name)
        return _size(place / name)

    n_bytes = _do_all(send, missing, listener)
    is_new = there.create(MANIFEST_NAME, manifest)
    return Moved(
        "artifact", len(missing) + is_new, n_bytes + is_new * len(manifest),
        len(files) - len(missing) + (not is_new),
    )  # fmt: skip


def _claim(there: Prefix, content: bytes) -> None:
    """Say, before the first file, whose place this is, so that no two artifacts mix."""
    standing = there.read(MANIFEST_NAME)
    is_other = (
        standing is not None and _name_content(_parse_manifest(standing, there.url)) != content
    )
    if not is_other and not there.create(_CLAIM_NAME, content):
        is_other = there.read(_CLAIM_NAME) != content
    if is_other:
        raise ArtifactError(
            f"{there.url}: another artifact is there, or on its way there; nothing is overwritten,"
            " name another URL, or delete what is below this one first"
        )


def _pull_artifact(manifest: bytes, there: Prefix, place: Path, listener: Listener) -> Moved:
    files = _parse_manifest(manifest, there.url)
    content = _name_content(files)
    if is_complete(place):
        standing = (place / MANIFEST_NAME).read_bytes()
        if _name_content(_parse_manifest(standing, str(place))) == content:
            return Moved("artifact", 0, 0, len(files) + 1)
    check_absent(place)
    remove_partials(place.parent, place.name)
    # What is fetched outlives a kill here, and moves into the draft when all of it is there.
    folder = place.with_name(f".{place.name}.{content.decode()[:16]}.pulled")
    missing = [
        name
        for name, digest in files.items()
        if not (folder / name).is_file() or hash_file(folder / name) != digest
    ]

    def fetch(name: str) -> int:
        return there.fetch(name, folder / name, files[name])

    n_bytes = _do_all(fetch, missing, listener)
    with open_draft(place) as draft:
        for name in files:
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).rename(draft / name)
        (draft / MANIFEST_NAME).write_bytes(manifest)
    shutil.rmtree(folder, ignore_errors=True)
    n_before = len(files) - len(missing)
    return Moved("artifact", len(missing) + 1, n_bytes + len(manifest), n_before)


def _push_file(place: Path, there: Prefix) -> Moved:
    content = place.read_bytes()
    if there.create("", content):
        return Moved("file", 1, len(content), 0)
    if there.read("") == content:
        return Moved("file", 0, 0, 1)
    raise ArtifactError(f"{there.url}: is another file; nothing is overwritten, name another URL")


def _pull_file(there: Prefix, place: Path) -> Moved:
    if place.is_file() and there.read("") == place.read_bytes():
        return Moved("file", 0, 0, 1)
    check_absent(place)
    return Moved("file", 1, there.fetch("", place), 0)


def _push_shards(folder: Path, there: Prefix, listener: Listener) -> Moved:
    """Send films before the records that speak of them; a film that is there stays."""
    records = {path.name: _whole_lines(path) for path in sorted(folder.glob(f"*{_RECORDS}"))}
    names = [path.relative_to(folder).as_posix() for path in list_files(folder)]
    films = [name for name in names if name not in records and not _is_part(name)]
    found = there.sizes()
    missing = [name for name in films if name not in found]
    # A record file grows while its writer works, and never changes otherwise.
    grown = [name for name in records if found.get(name, -1) < len(records[name])]

    def send(name: str) -> int:
        if name in records:
            there.put_bytes(records[name], name)
            return len(records[name])
        there.put(folder / name, name)
        return _size(folder / name)

    n_bytes = _do_all(send, missing, listener) + _do_all(send, grown, listener)
    n_sent = len(missing) + len(grown)
    return Moved("shards", n_sent, n_bytes, len(films) + len(records) - n_sent)


def _pull_shards(there: Prefix, folder: Path, listener: Listener) -> Moved:
    sizes = there.sizes()
    missing = [
        name
        for name, size in sizes.items()
        if _size(folder / name) < (size if name.endswith(_RECORDS) else 0)
    ]

    def fetch(name: str) -> int:
        return there.fetch(name, folder / name)

    n_bytes = _do_all(fetch, missing, listener)
    return Moved("shards", len(missing), n_bytes, len(sizes) - len(missing))


def _do_all(move: Callable[[str], int], names: Collection[str], listener: Listener) -> int:
    """Move files, several at once, as each waits for the network; return their bytes."""
    n_bytes = 0
    if names:
        with ThreadPoolExecutor(_N_AT_ONCE) as pool, listener.progress("files") as progress:
            for n_done, size in enumerate(pool.map(move, names), start=1):
                n_bytes += size
                progress(n_done, len(names))
    return n_bytes


def _sum(what: str, parts: list[Moved]) -> Moved:
    return Moved(
        what,
        sum(part.n_files for part in parts),
        sum(part.n_bytes for part in parts),
        sum(part.n_before for part in parts),
    )


def _parse_manifest(content: bytes, where: str) -> dict[str, str]:
    """Return name -> SHA-256 of an artifact's files, none of which leads out of its folder."""
    try:
        files: dict[str, str] = dict(json.loads(content)["files"])
        is_whole = all(_SHA256.fullmatch(digest) for digest in files.values())
    except (ValueError, KeyError, TypeError, RecursionError):
        is_whole = False
    if not is_whole:
        raise ArtifactError(
            f"{where}: {MANIFEST_NAME} is not a readable manifest; make the artifact again, and"
            " push it to another URL"
        )
    check_names(files, where)
    return files


def _name_content(files: Mapping[str, str]) -> bytes:
    """Return a hash of the files; two machines that made the same differ in the rest."""
    return hashlib.sha256(canonical_json(files).encode()).hexdigest().encode()


def _parse_shards(folder: str, name: str) -> str:
    """Return what follows the name in a hidden folder of shards of it, or ""."""
    found = re.fullmatch(rf"\.{re.escape(name)}\.([^./]+-[0-9a-f]{{16}}\.films)", folder)
    return found[1] if found else ""


def _listdir(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _is_part(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _whole_lines(path: Path) -> bytes:
    content = path.read_bytes()
    return content[: content.rfind(b"\n") + 1]
