"""Directories that are either complete or absent.

Owns atomic writing, manifests, content hashes and content-addressed names. It knows nothing about
what a stage computes.
"""

import dataclasses
import functools
import glob
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import stat
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import lock_descriptor

from covid_debug.errors import ArtifactError

MANIFEST_NAME = "manifest.json"
# Kind -> version of its files where it is not 1; raise it when an older covid_debug could not read
# them any more.
_SCHEMA_VERSIONS: dict[str, int] = {"audit": 2, "comparison": 2}
_PARTIAL_MARK = ".partial-"
_OWNER_NAME = ".owner"  # locked inside a draft for as long as its writer lives
_RECORDED_PACKAGES = ("covid_debug", "torch", "torchvision", "numpy", "opencv-python", "rapidocr")


def hash_file(path: Path) -> str:
    """Hash a file's bytes.

    Returns:
        The SHA-256 as 64 hex digits.

    Raises:
        ArtifactError: If the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from error


def hash_tree(folder: Path) -> dict[str, str]:
    """Hash every file in a folder: relative name -> SHA-256, sorted by name."""
    paths = sorted(
        path for path in folder.rglob("*") if path.is_file() and path.name != _OWNER_NAME
    )
    return {str(path.relative_to(folder)): hash_file(path) for path in paths}


def hash_listing(place: Path) -> str:
    """Fingerprint a file or folder by names, sizes and modification times, reading no content.

    Cheap enough for folders of 30,000 films; a touched or replaced file changes it.

    Returns:
        16 hex digits.

    Raises:
        ArtifactError: If the place does not exist.
    """
    if not is_there(place):
        raise ArtifactError(f"{place}: no such file or folder (from {Path.cwd()})")
    paths = list_files(place) if place.is_dir() else [place]
    digest = hashlib.sha256()
    for path in paths:
        try:
            facts = path.stat()
        except OSError:  # a link to nothing, or to itself: no file
            continue
        if stat.S_ISREG(facts.st_mode):
            name = path.relative_to(place) if path != place else path.name
            line = f"{name}\x1f{facts.st_size}\x1f{facts.st_mtime_ns}\n"
            digest.update(os.fsencode(line))  # a name may be no UTF-8
    return digest.hexdigest()[:16]


def is_there(place: Path) -> bool:
    """Tell whether something stands at a place; False also where no file can have that name."""
    return os.path.exists(place)  # noqa: PTH110  pathlib raises for a name that is too long


def list_files(folder: Path) -> list[Path]:
    """List what lies in a folder at any depth and is no folder, sorted.

    Returns:
        The files; links to folders are not gone into, a folder that cannot be read counts as empty.
    """
    found, waiting = [], [folder]
    while waiting:  # no recursion: folders may be nested deeper than calls
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    else:
                        found.append(Path(entry.path))
        except OSError:
            continue
    return sorted(path for path in found if not path.is_dir())


def canonical_json(value: object) -> str:
    """Serialise parameters so that equal values give equal text.

    Returns:
        JSON: dataclasses are mappings, paths strings, keys sorted; NaN is refused.
    """
    return json.dumps(value, sort_keys=True, allow_nan=False, default=_plain)


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"cannot serialise {type(value).__name__}")


def artifact_key(stage: str, code_version: int, parameters: object, inputs: object) -> str:
    """Name an artifact after everything that decides its content.

    Args:
        stage: Name of the stage, the readable part of the key.
        code_version: Raised by hand whenever the stage's code changes its output.
        parameters: Anything :func:`canonical_json` accepts.
        inputs: Keys or hashes of the artifacts that go in.

    Returns:
        ``"<stage>-<16 hex digits>"``.
    """
    blob = canonical_json([stage, code_version, parameters, inputs])
    return f"{stage}-{hashlib.sha256(blob.encode()).hexdigest()[:16]}"


def write_text_atomic(path: Path, text: str) -> None:
    """Write a text file so that readers see the old content or the new, never a part.

    Raises:
        ArtifactError: If the place cannot be written.
    """
    partial = path.with_name(f".{path.name}{_PARTIAL_MARK}{uuid.uuid4().hex[:8]}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ArtifactError(
            f"{path}: cannot be written ({error.strerror}); choose a writable place with free space"
        ) from error


def check_absent(target: Path) -> None:
    """Check, before long work, that an artifact can be made at a place.

    Raises:
        ArtifactError: If something stands there.
    """
    if target.exists():
        raise ArtifactError(f"{target}: already exists; artifacts are never overwritten")


@contextmanager
def write_artifact(
    target: Path,
    *,
    kind: str,
    parameters: object = None,
    inputs: Mapping[str, str] | None = None,
    device: str | None = None,
) -> Iterator["ArtifactDraft"]:
    """Fill a directory beside its final place, then publish it with one rename.

    The manifest (schema version, kind, parameters, input keys, file hashes, package versions,
    version of the code, device) is written last. If the body raises, the draft is removed and
    nothing appears at ``target``.

    Args:
        target: Final directory; must not exist.
        kind: What the artifact is, e.g. ``"filmset"``; readers check it.
        parameters: What the artifact was made with.
        inputs: Name -> key or hash of what went in.
        device: What computed it, see :func:`covid_debug.models.devices.describe_device`; None is
            this machine's processor.

    Yields:
        The draft: write files below ``draft.path``, add manifest entries to ``draft.facts``.

    Raises:
        ArtifactError: If ``target`` exists or the place cannot be written.
    """
    with open_draft(target) as folder:
        draft = ArtifactDraft(folder)
        yield draft
        manifest = {
            "schema_version": schema_version(kind),
            "kind": kind,
            "parameters": parameters,
            "inputs": dict(inputs or {}),
            "facts": draft.facts,
            "files": hash_tree(folder),
            "packages": package_versions(),
            "python": platform.python_version(),
            "code": describe_code(),
            "device": device or describe_processor(),
        }
        text = json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False, default=_plain)
        (folder / MANIFEST_NAME).write_text(f"{text}\n", encoding="utf-8")


@contextmanager
def open_draft(target: Path) -> Iterator[Path]:
    """Yield a folder to fill, manifest included; :func:`write_artifact` says what becomes of it."""
    check_absent(target)
    partial = target.with_name(f"{target.name}{_PARTIAL_MARK}{uuid.uuid4().hex[:8]}")
    try:
        partial.mkdir(parents=True)
        owner = os.open(partial / _OWNER_NAME, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise ArtifactError(
            f"{target}: cannot be written ({error.strerror}); choose a writable folder"
        ) from error
    try:
        try_to_lock(owner)
        yield partial
        partial.rename(target)
        (target / _OWNER_NAME).unlink()
    except OSError as error:
        raise ArtifactError(
            f"{target}: cannot be written ({error.strerror}); nothing finished earlier is lost"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        os.close(owner)


def schema_version(kind: str) -> int:
    """Return the newest version of a kind's files that this covid_debug reads, which it writes."""
    return _SCHEMA_VERSIONS.get(kind, 1)


@dataclasses.dataclass(slots=True)
class ArtifactDraft:
    """A directory being filled; ``facts`` ends in the manifest."""

    path: Path
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


def is_complete(directory: Path) -> bool:
    """Tell whether a published artifact stands at this place."""
    return (directory / MANIFEST_NAME).is_file()


def read_manifest(directory: Path, *, kind: str) -> dict[str, Any]:
    """Read and check the manifest of an artifact.

    Args:
        directory: The artifact.
        kind: The kind that the caller expects.

    Returns:
        The manifest as written.

    Raises:
        ArtifactError: If the directory or its manifest is missing, broken, of another kind or of a
            newer covid_debug.
    """
    path = directory / MANIFEST_NAME
    if not directory.is_dir():
        raise ArtifactError(f"{directory}: no such folder; expected a {kind} made by covid-debug")
    if not path.is_file():
        raise ArtifactError(f"{directory}: has no {MANIFEST_NAME}; expected a complete {kind}")
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found, version = manifest["kind"], int(manifest.get("schema_version", 1))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: is not a readable manifest; make the {kind} again") from error
    if found != kind:
        raise ArtifactError(f"{directory}: is of kind {found}, expected {kind}")
    known = schema_version(kind)
    if version > known:
        raise ArtifactError(
            f"{directory}: this {kind} was written by a newer covid_debug (schema version"
            f" {version}, this one reads up to {known}); update it"
        )
    return manifest


def find_damage(directory: Path, *, kind: str) -> list[str]:
    """List files of an artifact that are missing or differ from the manifest's hashes.

    Returns:
        Relative paths; empty when the artifact is intact.
    """
    files: dict[str, str] = read_manifest(directory, kind=kind)["files"]
    return [
        name
        for name, digest in files.items()
        if not (directory / name).is_file() or hash_file(directory / name) != digest
    ]


def remove_partials(folder: Path, name: str = "") -> int:
    """Delete what killed writers left in a folder of artifacts; drafts of living ones stay.

    Args:
        folder: Of the artifacts.
        name: Of the only artifact whose drafts are meant; "" means all.

    Returns:
        How many were deleted.
    """
    drafts = f"{glob.escape(name) or '*'}{_PARTIAL_MARK}{'[0-9a-f]' * 8}"
    leftovers = [path for path in folder.glob(drafts) if path.is_dir() and _is_abandoned(path)]
    for path in leftovers:
        shutil.rmtree(path, ignore_errors=True)
    return len(leftovers)


def _is_abandoned(partial: Path) -> bool:
    try:
        owner = os.open(partial / _OWNER_NAME, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        return try_to_lock(owner)
    finally:
        os.close(owner)


def try_to_lock(descriptor: int) -> bool:
    """Return whether nobody else holds the lock; the system frees it when its holder dies."""
    try:
        return lock_descriptor(descriptor, blocking=False)
    except OSError:  # a file system without locks: nobody holds any
        return True


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that decide results, as manifests record them."""
    versions = {}
    for name in _RECORDED_PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions


@functools.cache
def describe_code() -> str:
    """Return the commit of this checkout, ``-dirty`` added when tracked files differ from it.

    An installed package gives its version.
    """
    here = Path(__file__).resolve()
    git = ["git", "-C", str(here.parent)]
    try:
        # A package installed below somebody else's checkout is not part of it.
        for command in (
            [*git, "ls-files", "--error-unmatch", here.name],
            [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        ):
            found = subprocess.run(  # noqa: S603
                command,
                check=True,
                capture_output=True,
                text=True,
                timeout=10,
                env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
            )
        return found.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return f"covid_debug {package_versions()['covid_debug']}"


@functools.cache
def describe_processor() -> str:
    """Return this machine's processor, e.g. ``"cpu (AMD EPYC 7763 64-Core Processor)"``."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"cpu ({next(iter(names), '') or platform.processor() or platform.machine()})"
