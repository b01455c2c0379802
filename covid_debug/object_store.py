"""Objects below a URL: what a store can do, in the words of this project.

Owns how objects are listed, read and put, and what to say when a store refuses. What they mean is
the business of :mod:`covid_debug.pushing`.
"""

import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import fsspec
from fsspec.implementations.local import LocalFileSystem

from covid_debug.artifacts import hash_file
from covid_debug.errors import ArtifactError, InputContractError, MissingPackageError
from covid_debug.optional import require

_UNREACHABLE: Final = {"ConnectionError", "HTTPClientError", "ClientConnectionError"}


class Prefix:
    """The objects below a URL, by names relative to it."""

    def __init__(self, fs: fsspec.AbstractFileSystem, root: str, url: str) -> None:
        """Take a file system, the path there, and what the user calls it."""
        self.fs, self.root, self.url = fs, root, url
        self.name = root.rpartition("/")[2]

    def beside(self, key: str) -> "Prefix":
        """Return the prefix of shards of this one."""
        old, new = f"/{self.name}", f"/.{self.name}.{key}"
        return Prefix(self.fs, self.root.removesuffix(old) + new, self.url.removesuffix(old) + new)

    def names_beside(self) -> list[str]:
        """Return the last parts of what lies where this prefix lies."""
        with self._worded():
            try:
                found = self.fs.ls(self.root.rpartition("/")[0], detail=False)
            except FileNotFoundError:
                return []
        return [name.rstrip("/").rpartition("/")[2] for name in found]

    def is_object(self) -> bool:
        """Tell whether the URL itself is an object, and no prefix of some."""
        with self._worded():
            try:
                return bool(self.fs.info(self.root)["type"] == "file")
            except FileNotFoundError:
                return False

    def sizes(self) -> dict[str, int]:
        """Return name -> bytes of all objects; a name that leads out is refused."""
        with self._worded():
            try:
                found = self.fs.find(self.root, detail=True)
            except FileNotFoundError:
                return {}
        start = f"{self.root}/"
        sizes = {
            name.removeprefix(start): int(info["size"])
            for name, info in found.items()
            if name.startswith(start) and not name.endswith("/")
        }
        check_names(sizes, self.url)
        return sizes

    def read(self, name: str) -> bytes | None:
        """Return an object's content, or None where there is none."""
        with self._worded(name):
            try:
                content: bytes = self.fs.cat_file(self._path(name))
            except (FileNotFoundError, NotADirectoryError):
                return None
        return content

    def create(self, name: str, content: bytes) -> bool:
        """Put an object where none is; return whether that was so."""
        with self._worded(name):
            try:
                self.fs.pipe_file(self._path(name), content, mode="create")
            except FileExistsError:
                return False
        return True

    def put(self, source: Path, name: str) -> None:
        """Put a file, over what may be there."""
        with self._worded(name):
            self.fs.put_file(str(source), self._path(name))

    def put_bytes(self, content: bytes, name: str) -> None:
        """Put a content, over what may be there."""
        with self._worded(name):
            self.fs.pipe_file(self._path(name), content)

    def fetch(self, name: str, target: Path, digest: str | None = None) -> int:
        """Write an object to a file, whole and with that SHA-256 or not at all; return its size."""
        part = target.with_name(f".{uuid.uuid4().hex}.part")
        try:
            with self._worded(name):
                target.parent.mkdir(parents=True, exist_ok=True)
                self.fs.get_file(self._path(name), str(part))
            if digest is not None and hash_file(part) != digest:
                raise ArtifactError(
                    f"{self.url}/{name}: damaged, differs from the manifest; delete this object,"
                    " push again from where the artifact is whole, and pull again"
                )
            n_bytes = part.stat().st_size
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return n_bytes

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root

    @contextmanager
    def _worded(self, name: str = "") -> Iterator[None]:
        """Say what went wrong in one line; each file system has exceptions of its own."""
        try:
            yield
        except Exception as error:
            where = f"{self.url}/{name}" if name else self.url
            raise ArtifactError(f"{where}: {_explain(error)}") from error


def _explain(error: Exception) -> str:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, FileNotFoundError):
        return "no such bucket or object; make the bucket first, or look at the name"
    if _is_denied(error) or any("Credential" in kind for kind in kinds):
        return (
            f"no access ({error}); give credentials that may list, read and write there, for s3 as"
            " AWS_PROFILE, or as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if kinds & _UNREACHABLE:
        return (
            f"cannot be reached ({error}); look at the network, and at AWS_ENDPOINT_URL for a store"
            " of your own; start again to go on"
        )
    said = str(error) or type(error).__name__
    return f"failed ({said}); what has arrived is kept, start again to go on"


def _is_denied(error: Exception) -> bool:
    """Tell whether a store refuses; what a disk refuses names a file."""
    return isinstance(error, PermissionError) and error.filename is None


def open_prefix(url: str) -> Prefix:
    """Reach a place in a store; nothing is asked of it yet.

    Args:
        url: Anything fsspec opens, e.g. ``"s3://bucket/study/plus"``.

    Returns:
        What lies below it.

    Raises:
        InputContractError: If it is no URL, of an unknown protocol, or a bucket without a name.
        MissingPackageError: If the package that reaches such a store is missing.
    """
    protocol, mark, rest = url.partition("://")
    if not mark or not rest.strip("/"):
        raise InputContractError(f"{url}: is no URL; expected one as s3://bucket/study/plus")
    if protocol in {"s3", "s3a"}:
        require("s3fs", purpose=url)
    try:
        fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
    except ImportError as error:
        raise MissingPackageError(f"{url}: {error}, for example with pip install") from error
    except ValueError as error:
        raise InputContractError(f"{url}: {error}; expected one as s3://bucket/name") from error
    if isinstance(fs, LocalFileSystem):
        fs.auto_mkdir = True
    if not root.rpartition("/")[2] or "/" not in root:
        raise InputContractError(f"{url}: names no place in the bucket; add one, as {url}/plus")
    return Prefix(fs, root, url.rstrip("/"))


def check_names(names: Collection[str], where: str) -> None:
    """Refuse names that lead out of the folder to which they are relative.

    Raises:
        ArtifactError: Naming the first.
    """
    for name in names:
        path = Path(name)
        if not path.parts or path.anchor or ".." in path.parts or "\0" in name:
            raise ArtifactError(
                f"{where}: the key {name!r} leads out of the folder; nothing is fetched or sent"
            )
