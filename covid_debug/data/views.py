"""What a model sees, for many films at once, decoded a single time.

Owns the memory-mapped cache of views. How one view is made is decided in
:mod:`covid_debug.imaging.geometry`.
"""

import os
import shutil
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from covid_debug.artifacts import artifact_key, try_to_lock
from covid_debug.data.filmset import FilmSet
from covid_debug.errors import ArtifactError, DataIntegrityError, InputContractError
from covid_debug.imaging.geometry import ViewSpec, render_view
from covid_debug.imaging.reading import FilmFile, read_film
from covid_debug.progress import Progress
from covid_debug.records import Film

Views = npt.NDArray[np.uint8]

_CODE_VERSION = 2


def render_film(file: Path | FilmFile, spec: ViewSpec) -> Views:
    """Return the view ``(S, S)`` uint8 of the film in a file."""
    return render_view(read_film(file).to_uint8(), spec)


def load_views(
    filmset: FilmSet,
    films: Sequence[Film],
    spec: ViewSpec,
    cache_dir: Path,
    *,
    n_workers: int = 2,
    progress: Progress | None = None,
) -> Views:
    """Return the views of the films, decoding them only if the cache lacks them.

    The cache file is named after the recorded hashes and windows, the places, sizes and times of
    the film files and the view specification. What it holds was made from bytes of the recorded
    hashes, so that a file exchanged for one of the same size and time cannot change a view; any
    other exchange is noticed. It is written beside its place and renamed, so a killed run leaves
    no half file.

    Args:
        filmset: The data set that the films belong to.
        films: Which films, in which order; at least one.
        spec: How views are made.
        cache_dir: Folder of the cache; created when missing.
        n_workers: Threads; decoding and resizing release the interpreter lock.
        progress: Called with (films done, films in total) while decoding.

    Returns:
        ``(N, S, S)`` uint8 in the order of ``films``, memory-mapped and read-only.

    Raises:
        InputContractError: If ``films`` is empty.
        DataIntegrityError: If a film cannot be read.
        FilmChangedError: If a film is not the one that was recorded.
        ArtifactError: If the cache cannot be written.
    """
    if not films:
        raise InputContractError("load_views: films is empty; expected at least one film")
    files = [filmset.file_of(film) for film in films]
    stamps = [_fingerprint(file) for file in files]
    key = artifact_key("views", _CODE_VERSION, spec, stamps)
    target = cache_dir / f"{key}.npy"
    if not target.exists():
        try:
            cache_dir.mkdir(parents=True, exist_ok=True)
            _build(files, spec, target, n_workers, progress)
        except OSError as error:
            raise ArtifactError(
                f"{target}: cannot be written ({error.strerror}); choose a writable cache folder"
            ) from error
    views: Views = np.load(target, mmap_mode="r")
    return views


def _fingerprint(file: FilmFile) -> tuple[object, ...]:
    try:
        status = file.path.stat()
    except OSError as error:
        raise DataIntegrityError(
            f"{file.path}: cannot be read ({error.strerror}); expected the film that ingest saw;"
            " restore it or ingest again"
        ) from error
    place = str(file.path.absolute())
    return file.sha256, file.window, place, status.st_size, status.st_mtime_ns


def _build(
    files: Sequence[FilmFile],
    spec: ViewSpec,
    target: Path,
    n_workers: int,
    progress: Progress | None,
) -> None:
    shape = (len(files), spec.image_size, spec.image_size)
    n_free = shutil.disk_usage(target.parent).free
    if n_free < 1.05 * np.prod(shape, dtype=np.int64):  # a full disk would kill a mapped write
        raise ArtifactError(
            f"{target}: needs {np.prod(shape, dtype=np.int64) / 1e9:.2f} GB, {n_free / 1e9:.2f} GB"
            " are free; choose a cache folder with more space or a smaller image_size"
        )
    _remove_partials(target.parent)
    partial = target.with_name(f".{target.name}.partial-{uuid.uuid4().hex[:8]}")
    owner = os.open(partial, os.O_RDWR | os.O_CREAT)
    try:
        try_to_lock(owner)
        views = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)

        def render_into(index: int) -> None:
            views[index] = render_film(files[index], spec)

        with ThreadPoolExecutor(n_workers) as pool:
            for n_done, _ in enumerate(pool.map(render_into, range(len(files))), start=1):
                if progress is not None:
                    progress(n_done, len(files))
        views.flush()
        partial.replace(target)
    finally:
        os.close(owner)
        partial.unlink(missing_ok=True)


def _remove_partials(cache_dir: Path) -> None:
    """Delete what killed decodings left; a living one holds a lock on its file."""
    for partial in cache_dir.glob(".*.npy.partial-*"):
        # Its writer may finish, or another one delete it, meanwhile.
        with suppress(FileNotFoundError), partial.open("rb+") as stream:
            if try_to_lock(stream.fileno()):
                partial.unlink()
