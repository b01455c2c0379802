"""The exceptions of covid_debug.

Every error that a caller can trigger is a :class:`CovidDebugError` whose message reads
"where: what is wrong (value); what was expected; what to do". The command line prints that one
line; nothing here formats tracebacks.
"""

import difflib
from collections.abc import Iterable


class CovidDebugError(Exception):
    """Base of every error that the user can act on."""


class ConfigError(CovidDebugError):
    """A configuration file or override is wrong."""


class InputContractError(CovidDebugError, ValueError):
    """A value passed to a library function violates its documented contract."""


class DataIntegrityError(CovidDebugError):
    """A file, film, split list or data set is missing, unreadable or inconsistent."""


class FilmChangedError(CovidDebugError):
    """A film is not the file that its data set recorded; nothing about it can be trusted."""


class CatalogError(CovidDebugError, KeyError):
    """A name is not in a catalogue."""

    def __str__(self) -> str:
        """Return the message itself; ``KeyError`` would show its repr."""
        return str(self.args[0]) if self.args else ""


class CheckpointError(CovidDebugError):
    """A model checkpoint is missing, unsafe or does not fit the model."""


class TrainingError(CovidDebugError):
    """A training diverged or lost a process; no checkpoint was written."""


class ExplanationError(CovidDebugError):
    """An explainer produced a non-finite or malformed result."""


class ArtifactError(CovidDebugError):
    """An artifact directory cannot be written, read or trusted."""


class MissingPackageError(CovidDebugError):
    """A package that only an extra brings is not installed."""


class TrackingError(CovidDebugError):
    """The experiment tracker cannot be reached or refuses a value."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` when another known name is close, else an empty string."""
    words = {word.casefold(): word for word in known if word != name}
    close = difflib.get_close_matches(name.casefold(), words, n=1, cutoff=0.6)
    return f"; did you mean {words[close[0]]!r}?" if close else ""
