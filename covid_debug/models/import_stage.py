"""The stage that makes a checkpoint of a network trained elsewhere."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from covid_debug.artifacts import hash_file
from covid_debug.errors import CovidDebugError
from covid_debug.models.checkpoint import KIND
from covid_debug.models.factories import describe_factory, load_factory
from covid_debug.models.foreign import find_beside
from covid_debug.models.importing import ModelFacts, import_model
from covid_debug.stages import Means, Request


@dataclass(frozen=True)
class ModelImport(Request):
    """Make a checkpoint of a model file or of a function.

    Attributes:
        source: The file; None for a function.
        facts: What the file does not say.
        arch: Architecture of weights; or
        factory: ``"package.module:function"`` that builds their network.
        function: ``"package.module:function"`` that is the model.
        called: What its user calls the file, where that is a copy; decides no result.
    """

    source: Path | None
    facts: ModelFacts
    arch: str | None = None
    factory: str | None = None
    function: str | None = None
    called: str | None = field(default=None, compare=False)

    stage: ClassVar[str] = KIND
    makes: ClassVar[str] = KIND
    code_version: ClassVar[int] = 2

    def parameters(self) -> object:
        """Return what is said of the file, and the code of the factory or function."""
        code = describe_factory(self.function or self.factory).get("code")
        said: dict[str, object] = {"facts": self.facts, "arch": self.arch}
        return said | {"factory": self.factory, "function": self.function, "code": code}

    def inputs(self) -> dict[str, str]:
        """Return the file by its content, and those that it keeps its weights in."""
        beside = () if self.source is None else find_beside(self.source)
        return {**super().inputs(), **{one.name: hash_file(one)[:16] for one in beside}}

    def make(self, out: Path, means: Means) -> Path:
        """Write the checkpoint; what was found and assumed is said."""
        try:
            return import_model(
                self.source,
                out,
                self.facts,
                arch=self.arch,
                factory=load_factory(self.factory) if self.factory else None,
                function=load_factory(self.function) if self.function else None,
                called=self.called,
                say=means.listener.say,
            )
        except CovidDebugError as error:
            if self.called is None:
                raise
            raise type(error)(str(error).replace(str(self.source), self.called)) from error
