"""A small film set and a classifier that reads two squares, so that every answer is known."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from covid_debug.artifacts import write_artifact
from covid_debug.audit.planning import AuditParams, AuditSubject
from covid_debug.data.filmset import FilmSet, load_filmset, write_films
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.imaging.writing import write_png
from covid_debug.models.checkpoint import LoadedModel
from covid_debug.models.classifier import Classifier
from covid_debug.records import Film, FilmRegions, TextRegion
from tests.films import recorded

SIDE = 96  # view; films are 96 wide and 104 high, so that 8 rows fall to the 8 % top crop
HEIGHT = 104
TEXT_BOX = (6, 14, 18, 22)  # x0, y0, x1, y1 on the film: the corner that the classifier reads
OTHER_BOX = (70, 86, 82, 94)  # a corner that it does not read
TOP_BOX = (40, 0, 52, 5)  # cut off by the top crop
SIGN_BOX = (44, 50, 60, 66)  # "pathology"


class TwoSquares(nn.Module):
    """Logit of class 1 rises with the brightness of the text corner or of the sign."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(20.0))

    def forward(self, images: Tensor) -> Tensor:
        def mean(box: tuple[int, int, int, int]) -> Tensor:
            x0, y0, x1, y1 = box
            return images[:, 0, y0 - 8 : y1 - 8, x0:x1].mean(dim=(1, 2))

        logit = self.slope * (mean(TEXT_BOX) + mean(SIGN_BOX) - 0.6)
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


def box_region(box: tuple[int, int, int, int]) -> TextRegion:
    x0, y0, x1, y1 = (float(value) for value in box)
    return TextRegion(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), 0.9, "R", "made")


@dataclass(frozen=True)
class World:
    """Films with known causes, their text, and the model that reads them."""

    filmset: FilmSet
    regions: dict[str, FilmRegions]
    loaded: LoadedModel
    cache: Path

    def subject(self, params: AuditParams, run_seed: int, **changes: object) -> AuditSubject:
        """What is audited: the test films, unless something else is said."""
        films = self.filmset.select("test")
        subject = AuditSubject(self.loaded, self.filmset, films, self.regions, params, run_seed)
        return replace(subject, **changes)


PLAN = {
    # name: (painted boxes, text boxes)
    "driven0": ((TEXT_BOX,), (TEXT_BOX,)),
    "driven1": ((TEXT_BOX, OTHER_BOX), (TEXT_BOX, OTHER_BOX)),
    "sign0": ((SIGN_BOX, OTHER_BOX), (OTHER_BOX,)),
    "sign1": ((SIGN_BOX, OTHER_BOX), (OTHER_BOX,)),
    "cropped": ((SIGN_BOX, TOP_BOX), (TOP_BOX,)),
    "plain": ((SIGN_BOX,), ()),
    "negative": ((OTHER_BOX,), (OTHER_BOX,)),
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    folder = tmp_path / "films"
    films, regions = [], {}
    with write_artifact(folder, kind="filmset") as draft:
        (draft.path / "test").mkdir()
        for i, (name, (painted, text)) in enumerate(PLAN.items()):
            pixels = np.random.default_rng(i).integers(30, 50, (HEIGHT, SIDE)).astype(np.uint8)
            for x0, y0, x1, y1 in painted:
                pixels[y0:y1, x0:x1] = 220
            write_png(draft.path / "test" / f"{name}.png", pixels)
            films.append(
                Film(
                    name,
                    f"test/{name}.png",
                    f"s:{name}",
                    "COVID-19",
                    "s",
                    "PA",
                    "test",
                    SIDE,
                    HEIGHT,
                    *recorded(draft.path / "test" / f"{name}.png"),
                )
            )
            regions[name] = FilmRegions(name, SIDE, HEIGHT, tuple(map(box_region, text)))
        write_films(draft.path, films)
        draft.facts.update(name="toy", class_names=["normal", "COVID-19"], n_ok=7, n_total=7)
    classifier = Classifier(
        TwoSquares(), class_names=("normal", "COVID-19"), image_size=(SIDE, SIDE)
    ).eval()
    loaded = LoadedModel(classifier, ViewSpec(SIDE, 0.08), {})
    return World(load_filmset(folder), regions, loaded, tmp_path / "cache")
