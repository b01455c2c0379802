"""What differs between two builds of a cleaned data set.

Owns the comparison of manifests, provenance and regions; opens no image.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from covid_debug.artifacts import read_manifest
from covid_debug.cleaning.provenance import FilmActions, read_actions, read_provenance

_N_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class BuildDiff:
    """Differences between two builds.

    Attributes:
        parameters: Field -> (value in the first, value in the second), where they differ.
        only_first: Films that only the first build has.
        only_second: Films that only the second build has.
        inputs_changed: Films made from different original files.
        pixels_changed: Films whose cleaned files differ.
        regions_changed: Films whose regions or actions differ -> (regions only in the first,
            regions only in the second).
        changed_share: Mean changed share of each build.
    """

    parameters: Mapping[str, tuple[Any, Any]]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    inputs_changed: tuple[str, ...]
    pixels_changed: tuple[str, ...]
    regions_changed: Mapping[str, tuple[int, int]]
    changed_share: tuple[float, float]

    @property
    def is_empty(self) -> bool:
        """Return whether the builds hold the same films, parameters and regions."""
        return not (
            self.parameters
            or self.only_first
            or self.only_second
            or self.inputs_changed
            or self.pixels_changed
            or self.regions_changed
        )

    def to_markdown(self) -> str:
        """Return the differences as a short page."""
        if self.is_empty:
            return "The two builds are equal.\n"
        first, second = self.changed_share
        lines = [
            "| what | count |",
            "|---|---:|",
            f"| films only in the first | {len(self.only_first)} |",
            f"| films only in the second | {len(self.only_second)} |",
            f"| films with another original | {len(self.inputs_changed)} |",
            f"| films with other pixels | {len(self.pixels_changed)} |",
            f"| films with other regions | {len(self.regions_changed)} |",
            f"| mean changed share | {first:.3%} -> {second:.3%} |",
            "",
        ]
        lines += [f"- {name}: `{old}` -> `{new}`" for name, (old, new) in self.parameters.items()]
        shown = list(self.regions_changed.items())[:_N_SHOWN]
        lines += [f"- film {key}: {gone} regions gone, {new} new" for key, (gone, new) in shown]
        if len(self.regions_changed) > len(shown):
            lines.append(f"- and {len(self.regions_changed) - len(shown)} more films")
        return "\n".join(lines) + "\n"


def diff_builds(first: Path, second: Path) -> BuildDiff:
    """Compare two cleaned data sets film by film.

    Args:
        first: Folder of one build.
        second: Folder of the other.

    Returns:
        The differences from the first to the second.

    Raises:
        ArtifactError: If a folder is no data set.
        DataIntegrityError: If one was not made by cleaning.
    """
    manifests = [read_manifest(folder, kind="filmset") for folder in (first, second)]
    old, new = (read_provenance(folder) for folder in (first, second))
    old_regions, new_regions = (read_actions(folder) for folder in (first, second))
    shared = [key for key in old if key in new]
    changes = {key: _compare_regions(old_regions[key], new_regions[key]) for key in shared}
    shares = [float(manifest["facts"]["mean_changed_share"]) for manifest in manifests]
    return BuildDiff(
        _compare_parameters(manifests[0], manifests[1]),
        tuple(key for key in old if key not in new),
        tuple(key for key in new if key not in old),
        tuple(key for key in shared if old[key]["input_sha256"] != new[key]["input_sha256"]),
        tuple(key for key in shared if old[key]["output_sha256"] != new[key]["output_sha256"]),
        {key: change for key, change in changes.items() if change != (0, 0)},
        (shares[0], shares[1]),
    )


def _compare_parameters(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    sides = [
        {**manifest["parameters"], "detection": manifest["facts"].get("detection")}
        for manifest in (first, second)
    ]
    names = sorted({*sides[0], *sides[1]})
    pairs = {name: (sides[0].get(name), sides[1].get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _compare_regions(first: FilmActions, second: FilmActions) -> tuple[int, int]:
    sides = [
        set(zip((region.polygon for region in film.found.regions), film.actions, strict=True))
        for film in (first, second)
    ]
    return len(sides[0] - sides[1]), len(sides[1] - sides[0])
