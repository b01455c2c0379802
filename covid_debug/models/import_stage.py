"""The stage that makes a checkpoint of a network trained elsewhere."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from covid_debug.models.checkpoint import KIND, load_factory
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
    """

    source: Path | None
    facts: ModelFacts
    arch: str | None = None
    factory: str | None = None
    function: str | None = None

    stage: ClassVar[str] = KIND
    makes: ClassVar[str] = KIND
    code_version: ClassVar[int] = 1

    def make(self, out: Path, means: Means) -> Path:
        """Write the checkpoint; what was found and assumed is said."""
        return import_model(
            self.source,
            out,
            self.facts,
            arch=self.arch,
            factory=load_factory(self.factory) if self.factory else None,
            function=load_factory(self.function) if self.function else None,
            say=means.listener.say,
        )
