"""`import covid_debug as cd`: a few names, loaded when they are used, that work in a notebook."""

import ast
import importlib.util
import inspect
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import covid_debug as cd
from covid_debug import notebook
from covid_debug.data.filmset import FilmSet
from covid_debug.data.phantom import TRUTH_REGIONS_NAME
from covid_debug.data.views import render_film
from covid_debug.errors import ArtifactError, ConfigError, InputContractError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.imaging.regions import read_regions
from covid_debug.models.catalog import build_backbone
from covid_debug.models.checkpoint import save_checkpoint
from covid_debug.models.inference import to_canonical
from covid_debug.saliency.catalog import build_explainer

VIEW = ViewSpec(image_size=32, top_crop=0.0)
HEAVY = {"numpy", "torch", "pandas", "prefect", "mlflow", "matplotlib", "pydantic"}


def test_the_import_loads_nothing_heavy() -> None:
    code = "import sys, covid_debug; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not HEAVY & set(done.stdout.split())


@pytest.mark.parametrize("name", cd.__all__)
def test_every_name_is_described_where_it_is_defined(name: str) -> None:
    thing = inspect.unwrap(getattr(cd, name))

    assert thing is inspect.unwrap(getattr(importlib.import_module(cd.HOMES[name]), name))
    home = getattr(thing, "__module__", "covid_debug")  # a module has none
    assert (home, thing.__name__.split(".")[-1]) == (cd.HOMES[name], name)
    assert inspect.getdoc(thing)
    assert name in dir(cd)


def test_checkers_and_editors_see_the_same_names() -> None:
    tree = ast.parse(Path(inspect.getfile(cd)).read_text(encoding="utf-8"))
    seen = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module != "typing"
        for alias in node.names
    }

    assert seen == cd.HOMES
    assert set(cd.__all__) == cd.HOMES.keys()
    with pytest.raises(AttributeError, match="no attribute 'explian'"):
        cd.explian  # noqa: B018


def test_the_reference_lists_every_name() -> None:
    docs = Path(__file__).parents[2] / "docs"
    spec = importlib.util.spec_from_file_location("hooks", docs / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(hooks := importlib.util.module_from_spec(spec))

    listed = re.findall(r"^::: (\S+)$", hooks.describe_face(), re.MULTILINE)
    assert listed == [f"{cd.HOMES[name]}.{name}" for name in cd.__all__]
    assert "<!-- generated: face -->" in (docs / "reference" / "python.md").read_text("utf-8")


def test_audit_is_a_package_that_can_be_called() -> None:
    importlib.import_module("covid_debug.audit.pipeline")  # binds the package to the name

    assert inspect.signature(cd.audit) == inspect.signature(notebook.audit)
    assert inspect.getdoc(cd.audit) == inspect.getdoc(notebook.audit)
    assert pickle.loads(pickle.dumps(cd.audit)) is cd.audit  # noqa: S301
    with pytest.raises(ArtifactError, match="none"):
        cd.audit("none", "none")


def test_wrong_things_are_refused_by_name(films: FilmSet, classifier: cd.Classifier) -> None:
    film = films.path_of(films.films[0])
    labels = cd.Classifier(
        classifier.module, class_names=films.class_names, image_size=(32, 32), multi_label=True
    )
    for call, said in (
        (lambda: cd.audit(labels, films), "audit: the classifier has labels"),
        (lambda: cd.compare({"original": labels}, {"original": films}), "compare: .* has labels"),
        (lambda: cd.explain(torch.nn.Linear(2, 2), [film]), "got a Linear; .*cd.Classifier"),
        (lambda: cd.explain(classifier, films), "explain: got a data set; expected a list"),
        (lambda: cd.explain(classifier, [film], "covid-19"), "did you mean 'COVID-19'"),
        (lambda: cd.detect_text(film), "png; expected a data set"),
        (lambda: cd.audit(films, classifier), "got a FilmSet; expected a classifier"),
        (lambda: cd.audit(classifier, films, clas="COVID-19"), "audit: 'clas' is not a field"),
        (lambda: cd.clean([film], metod="telea"), "did you mean 'method'"),
    ):
        with pytest.raises((InputContractError, ConfigError), match=said):
            call()


def test_a_place_that_is_taken_is_refused_before_the_work(
    films: FilmSet, classifier: cd.Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook, "detect_text", lambda *_, **__: pytest.fail("scanned"))
    for call in (
        lambda out: cd.audit(classifier, films, out=out),
        lambda out: cd.clean(films, out=out),
    ):
        with pytest.raises(ArtifactError, match="already exists"):
            call(str(films.root))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> FilmSet:
    return cd.generate_phantom(
        str(tmp_path_factory.mktemp("face") / "films"), n_train=1, n_test=4, seed=3
    )


@pytest.fixture(scope="module")
def classifier(films: FilmSet) -> cd.Classifier:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32 * 32, 3))
    return cd.Classifier(network, class_names=films.class_names, image_size=(32, 32), view=VIEW)


def test_a_film_in_memory_and_its_file_are_explained_alike(
    films: FilmSet, classifier: cd.Classifier
) -> None:
    path = films.path_of(films.films[0])
    film = cd.read_film(str(path))
    found = cd.explain(classifier, [path, film, film.to_uint8()], "COVID-19", method="gradient")

    images = to_canonical(render_film(path, VIEW)[None])
    target = torch.tensor([films.class_names.index("COVID-19")])
    expected = build_explainer("gradient").explain(classifier, images, target, seeds=[0])
    for row in range(3):
        torch.testing.assert_close(found.saliency[row], expected.saliency[0])
    predicted = cd.explain(classifier, images, method="gradient").targets
    assert torch.equal(predicted, classifier(images).argmax(dim=1))
    with pytest.raises(InputContractError, match="did you mean 'COVID-19'"):
        cd.explain(classifier, images, "COVID-91")
    with pytest.raises(InputContractError, match=r"pass \[film\]"):
        cd.explain(classifier, path)


def test_a_checkpoint_says_how_its_views_are_made(films: FilmSet, tmp_path: Path) -> None:
    network = build_backbone("resnet18", 3, 1)
    model = cd.Classifier(network, class_names=films.class_names, image_size=(32, 32))
    save_checkpoint(tmp_path / "model", model, arch="resnet18", arch_params={}, view=VIEW)

    assert model.view is None
    assert cd.load_classifier(str(tmp_path / "model")).view == VIEW


def test_text_of_a_data_set_and_of_a_list_is_the_same(films: FilmSet) -> None:
    of_set = cd.detect_text(films, detector="strokes")
    of_list = cd.detect_text([films.file_of(film) for film in films.films], detector="strokes")

    assert [record.image for record in of_set] == [film.image_id for film in films.films]
    assert [record.image for record in of_list] == ["0", "1", "2", "3", "4"]
    assert [record.regions for record in of_set] == [record.regions for record in of_list]
    assert any(record.regions for record in of_set)


def test_films_are_cleaned_in_memory_as_on_disk(films: FilmSet, tmp_path: Path) -> None:
    truth = films.root / TRUTH_REGIONS_NAME
    regions = read_regions(truth)
    in_memory = cd.clean(
        [films.file_of(film) for film in films.films],
        [regions[film.image_id] for film in films.films],
    )
    on_disk = cd.clean(films, truth, out=tmp_path / "cleaned")

    for film, cleaned in zip(on_disk.films, in_memory, strict=True):
        np.testing.assert_array_equal(cd.read_film(on_disk.path_of(film)).pixels, cleaned.pixels)
    assert any(cleaned.n_changed for cleaned in in_memory)
    for arguments in (((films,), {}), (([1],), {"out": "x"}), (([], []), {})):
        with pytest.raises(InputContractError, match=r"^clean: "):
            cd.clean(*arguments[0], **arguments[1])


def test_a_model_in_memory_is_audited_and_compared(
    films: FilmSet, classifier: cd.Classifier, tmp_path: Path
) -> None:
    truth = films.root / TRUTH_REGIONS_NAME
    result = cd.audit(classifier, str(films.root), truth, out=tmp_path / "audit", max_explained=1)
    again = cd.audit(classifier, films, read_regions(truth).values(), max_explained=1)
    assert again.summary == result.summary
    assert (tmp_path / "audit" / "summary.json").is_file()

    comparison = cd.compare({"original": classifier}, {"original": films, "again": films.root})
    assert [cell.test_data for cell in comparison.cells] == ["original", "again"]
    with pytest.raises(InputContractError, match="one called 'original'"):
        cd.compare({"a": classifier, "b": classifier}, {"original": films})


def test_several_trainings_of_each_arm_are_seeds_of_one_comparison(
    films: FilmSet, classifier: cd.Classifier
) -> None:
    several = {"original": [classifier] * 2, "cleaned": (classifier, classifier)}

    comparison = cd.compare(several, {"original": films, "cleaned": films, "swapped": films})

    assert {cell.seed for cell in comparison.cells} == {0, 1}
    answers = {answer.question.name: answer for answer in comparison.questions}
    assert answers["text_free"].verdict == "no evidence"  # the same model four times
    assert answers["unseen_source"].verdict == "not measured"
