"""Tells within seconds whether a tracking address can work.

MLflow itself retries an unreachable store for minutes to hours; this module asks first and says
in one line what is wrong.
"""

import errno
import os
import socket
import sqlite3
import urllib.error
import urllib.parse
import urllib.request
from contextlib import closing
from pathlib import Path

from covid_debug.errors import TrackingError
from covid_debug.places import find_obstacle

_TIMEOUT_S = 5.0
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_FORMS = "sqlite:////absolute/mlflow.db, http(s)://host:port or postgresql://user@host/database"


def is_local(uri: str) -> bool:
    """Return whether the store is a file of this machine."""
    return uri.startswith("sqlite:")


def check_reachable(uri: str) -> str:
    """Check a tracking address.

    Args:
        uri: MLflow tracking address.

    Returns:
        The address, with a relative SQLite path made absolute.

    Raises:
        TrackingError: If the form is unknown or nothing usable answers there.
    """
    scheme = urllib.parse.urlsplit(uri).scheme.split("+")[0]
    if scheme == "sqlite":
        return _check_sqlite(uri)
    if scheme in {"http", "https"}:
        _check_server(uri)
    elif scheme in _DATABASE_PORTS:
        _check_database(uri, _DATABASE_PORTS[scheme])
    elif scheme != "databricks":
        raise TrackingError(f"tracking.uri {uri!r}: form is not supported; expected {_FORMS}")
    return uri


def _check_sqlite(uri: str) -> str:
    name = uri.split(":///", 1)[-1] if ":///" in uri else ""
    if not name:
        raise TrackingError(f"tracking.uri {uri!r}: names no file; expected {_FORMS}")
    path = Path(name).absolute()
    obstacle = find_obstacle(path.parent)
    if obstacle is None and path.exists():
        obstacle = _ask_database(path)
    if obstacle is not None:
        raise TrackingError(
            f"tracking.uri {uri!r}: cannot be opened ({obstacle}); choose a writable place for an"
            " SQLite file with --set tracking.uri=sqlite:////DIR/mlflow.db"
        )
    return f"sqlite:///{path}"


def _ask_database(path: Path) -> str | None:
    """Say why a file is no database that can be written, or None."""
    if not os.access(path, os.W_OK):
        return os.strerror(errno.EACCES)
    try:
        with closing(sqlite3.connect(path, timeout=_TIMEOUT_S)) as connection:
            connection.execute("SELECT name FROM sqlite_master LIMIT 1").fetchall()
    except sqlite3.Error as error:
        return str(error)
    return None


def _check_server(uri: str) -> None:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_TIMEOUT_S):  # noqa: S310
            return
    except urllib.error.HTTPError:
        return  # something answers; MLflow reports what it dislikes
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise TrackingError(
            f"tracking.uri {uri!r}: no MLflow server answers ({reason}); start it, correct the"
            " address, or leave tracking.uri out to use a local file"
        ) from error


def _check_database(uri: str, default_port: int) -> None:
    try:
        parts = urllib.parse.urlsplit(uri)
        address = (parts.hostname or "localhost", parts.port or default_port)
        socket.create_connection(address, timeout=_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        # The address may hold a password; the message names the host only.
        host = uri.rsplit("@", 1)[-1]
        raise TrackingError(
            f"tracking.uri on {host!r}: no database answers ({error}); start it, correct the"
            " address, or leave tracking.uri out to use a local file"
        ) from error
