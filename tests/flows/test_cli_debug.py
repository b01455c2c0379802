"""`covid-debug debug`: from a checkpoint and films to a report, without any training."""

import csv
import json
import shutil
from pathlib import Path
from unittest import mock

import pytest
import torch

from covid_debug.artifacts import find_damage
from covid_debug.cleaning.decisions import read_decisions
from covid_debug.data.filmset import load_filmset
from covid_debug.data.phantom import generate_phantom
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.imaging.regions import read_regions
from covid_debug.models.catalog import build_backbone
from covid_debug.models.checkpoint import save_checkpoint
from covid_debug.models.classifier import Classifier
from covid_debug.reporting.summary import load_run_summary
from covid_debug.text import scan
from covid_debug.text.stage import RegionsRequest
from tests import browser
from tests.cli import Outcome, call, refusal
from tests.unit.data.test_data_layouts import write_table as write_rows

pytestmark = pytest.mark.filterwarnings("default")
CLASSES = ("normal", "pneumonia", "COVID-19")


def save_model(out: Path, names: tuple[str, ...] = CLASSES, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    network = build_backbone("resnet18_half", len(names))
    classifier = Classifier(network, class_names=names, image_size=(32, 32)).eval()
    return save_checkpoint(
        out, classifier, arch="resnet18_half", arch_params={}, view=ViewSpec(image_size=32)
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("debug")
    generate_phantom(folder / "films", n_train=3, n_test=5, seed=0)
    save_model(folder / "model")
    return folder


def ask(world: Path, out: str, *more: object, model: str = "model") -> Outcome:
    places = ("--model", world / model, "--films", world / "films", "--out", world / out)
    return call("debug", *places, "--workers", 1, *more)


@pytest.fixture(scope="module")
def asked(world: Path) -> tuple[Path, Outcome]:
    outcome = ask(world, "out")
    assert (outcome.code, outcome.err) == (0, [])
    (page,) = world.glob("out/report/*/report.html")
    return page, outcome


def test_everything_that_is_made_lies_below_out_and_only_test_films_are_looked_at(
    world: Path, asked: tuple[Path, Outcome]
) -> None:
    test = {film.image_id for film in load_filmset(world / "films").select("test")}
    for part, kind in (("check", "comparison"), ("text", "regions"), ("audit", "audit")):
        (made,) = (world / "out" / part).iterdir()
        assert find_damage(made, kind=kind) == []
    (regions,) = (world / "out" / "text").iterdir()

    assert set(read_regions(regions)) == test
    assert {path.name for path in world.iterdir()} >= {"films", "model", "out"}


def test_the_end_says_the_answers_and_where_the_report_lies(asked: tuple[Path, Outcome]) -> None:
    page, outcome = asked
    said = " ".join(" ".join(outcome.out).split())

    for one in load_run_summary(page.parent).short_answers:
        assert f"{one.question} {one.word[:1].upper()}{one.word[1:]}. {one.line}" in said
    assert outcome.out[-1] == f"Report: {page}"


def test_the_page_shows_the_audit_alone(asked: tuple[Path, Outcome]) -> None:
    text = asked[0].read_text(encoding="utf-8")

    assert "The model on these films" in text
    assert "Not asked" in text
    absent = (
        *("trained on<br>", "tested on", "One seed", "Is the cleaning clean?", "known truth"),
        *("original model", ">side_marker<"),
    )
    assert [words for words in absent if words in text] == []


def test_a_second_start_finds_everything(
    world: Path, asked: tuple[Path, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RegionsRequest, "make", lambda *_: pytest.fail("looked for text again"))

    outcome = ask(world, "out")

    found = [line for line in outcome.out if "found finished" in line]
    assert (outcome.code, len(found)) == (0, 4)
    assert outcome.out[-1] == f"Report: {asked[0]}"


@pytest.mark.usefixtures("asked")
def test_a_model_that_was_made_anew_in_its_folder_is_asked_anew(world: Path) -> None:
    shutil.copytree(world / "out", world / "out-2", symlinks=True)
    shutil.copytree(world / "model", world / "changing")
    ask(world, "out-2", model="changing")
    shutil.rmtree(world / "changing")
    save_model(world / "changing", seed=1)

    outcome = ask(world, "out-2", model="changing")

    assert outcome.code == 0
    assert len(list((world / "out-2" / "audit").iterdir())) == 2
    assert len(list((world / "out-2" / "text").iterdir())) == 1


@pytest.mark.usefixtures("asked")
def test_one_class_is_audited_and_the_page_says_so(world: Path) -> None:
    shutil.copytree(world / "out", world / "out-3", symlinks=True)
    summary = json.loads(
        next((world / "out" / "report").glob("*/summary.json")).read_text(encoding="utf-8")
    )
    predicted = next(iter(summary["audit"]["groups"]["by_class"]))

    outcome = ask(world, "out-3", "--target", predicted)

    assert outcome.code == 0
    assert f"Audit of {predicted} predictions" in Path(
        outcome.out[-1].removeprefix("Report: ")
    ).read_text(encoding="utf-8")


def test_a_killed_audit_goes_on(world: Path, asked: tuple[Path, Outcome]) -> None:
    shutil.copytree(world / "out", world / "out-4", symlinks=True)
    for part in ("audit", "report"):
        shutil.rmtree(world / "out-4" / part)
    with mock.patch("covid_debug.audit.pipeline._explain", side_effect=KeyboardInterrupt):
        assert ask(world, "out-4").code == 130
    assert list((world / "out-4" / "audit").glob(".*.films"))

    outcome = ask(world, "out-4")

    assert outcome.code == 0
    (made,) = (world / "out-4" / "audit").iterdir()
    (first,) = (world / "out" / "audit").iterdir()
    assert (made / "verdicts.jsonl").read_bytes() == (first / "verdicts.jsonl").read_bytes()


def test_class_that_is_none_names_the_classes(world: Path) -> None:
    line = ("debug", "--model", world / "model", "--films", world / "films")

    error = refusal(*line, "--target", "covid-19", "--out", world / "no")

    assert "did you mean 'COVID-19'" in error
    assert not (world / "no").exists()


def test_films_of_other_classes_are_refused_with_both_lists(world: Path) -> None:
    save_model(world / "other", ("healthy", "ill"))

    error = refusal(
        "debug", "--model", world / "other", "--films", world / "films", "--out", world / "no"
    )

    assert "films: has classes normal, pneumonia, COVID-19; the model has healthy, ill;" in error
    assert "give the films the model's words" in error


def test_films_without_test_films_are_refused(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "films", tmp_path / "films")
    table = tmp_path / "films" / "films.csv"
    table.write_text(table.read_text().replace(",test,", ",train,"))

    error = refusal(
        "debug", "--model", world / "model", "--films", tmp_path / "films", "--out", tmp_path / "no"
    )

    assert "has no test films" in error


def test_without_prefect_and_mlflow(world: Path, asked: object, tmp_path: Path) -> None:
    absent = dict.fromkeys(("prefect", "mlflow"))  # an import of one fails
    shutil.copytree(world / "out", world / "out-5", symlinks=True)

    with mock.patch.dict("sys.modules", absent):
        assert ask(world, "out-5").code == 0


@pytest.mark.skipif(bool(browser.WHY_NOT), reason=browser.WHY_NOT or "-")
def test_the_page_works_in_a_browser(asked: tuple[Path, Outcome]) -> None:
    with browser.launch() as chromium, browser.new_page(chromium) as opened:
        browser.show(opened, asked[0])

        assert browser.find_barriers(opened) == []
        opened.fill("#reviewer", "Å")
        opened.locator("#reviewer").blur()
        opened.keyboard.press("j")
        opened.keyboard.press("a")
        with opened.expect_download() as download:
            opened.click("[data-export=jsonl]")
        (decision,) = read_decisions(download.value.path())
        assert decision.decision == "accept"
        assert opened.locator("nav[aria-label=Sections] a").all_inner_texts() == [
            "Summary", "Data", "Text", "Model", "Audit", "Films", "Provenance",
        ]  # fmt: skip


def write_table(world: Path, place: Path, label: str = "") -> Path:
    films = load_filmset(world / "films")
    with place.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["Where", "label", "patient"])
        for film in films.select("test"):
            writer.writerow([films.path_of(film), label or film.label, film.patient_id])
    return place


def test_a_table_of_films_gives_the_audit_of_the_data_set(
    world: Path, asked: tuple[Path, Outcome], tmp_path: Path
) -> None:
    table = write_table(world, tmp_path / "mine.csv")
    line = ("--films", table, "--column", "path=Where", "--workers", 1, "--out", tmp_path / "out")

    outcome = call("debug", "--model", world / "model", *line)

    assert (outcome.code, outcome.err) == (0, [])
    page = Path(outcome.out[-1].removeprefix("Report: "))
    found, expected = load_run_summary(page.parent), load_run_summary(asked[0].parent)
    assert page.parent.name.startswith("model-on-mine-")
    assert found.audit.verdicts == expected.audit.verdicts
    assert found.films.by_split == {"train": 0, "val": 0, "test": 5}
    again = call("debug", "--model", world / "model", *line)
    assert len([one for one in again.out if "found finished" in one]) == 5


def test_labels_of_a_table_that_the_model_does_not_know_are_named(
    world: Path, tmp_path: Path
) -> None:
    table = write_table(world, tmp_path / "mine.csv", label="flu")

    error = refusal(
        *("debug", "--model", world / "model", "--films", table, "--column", "path=Where"),
        *("--out", tmp_path / "no"),
    )

    assert "mine.csv: 5 films have label 'flu'" in error
    assert "none of the classes 'normal', 'pneumonia', 'COVID-19' (labels: 'flu')" in error
    assert not (tmp_path / "no").exists()


def test_a_mistake_in_a_table_is_found_before_the_model_is_imported(tmp_path: Path) -> None:
    torch.save(build_backbone("resnet18_half", 2).state_dict(), tmp_path / "mine.pt")
    table = tmp_path / "mine.csv"
    table.write_text("Where,label\ngone.png,normal\n")

    outcome = call(
        *("debug", "--model", tmp_path / "mine.pt", "--arch", "resnet18_half"),
        *("--classes", "normal,flu", "--films", table, "--out", tmp_path / "no"),
    )

    assert outcome.code == 1
    assert "mine.csv: no column is known to hold the path" in outcome.err[0]
    assert not any("import" in one for one in outcome.out)
    assert not (tmp_path / "no").exists()


def test_options_of_a_table_beside_a_data_set_are_refused(world: Path, tmp_path: Path) -> None:
    outcome = ask(world, "no", "--finding", "Pneumonia")

    assert outcome.code == 2
    assert "--finding is of a table; " in outcome.err[0]


def test_weights_with_their_architecture_are_imported_once(
    world: Path, asked: object, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    torch.save(build_backbone("resnet18_half", 3).state_dict(), tmp_path / "mine.pt")
    shutil.copytree(world / "out", tmp_path / "out", symlinks=True)
    line = (
        *("debug", "--model", tmp_path / "mine.pt", "--arch", "resnet18_half", "--channels", 1),
        *("--classes", "normal,pneumonia,COVID-19", "--image-size", 32),
        *("--films", world / "films", "--workers", 1, "--out", tmp_path / "out"),
    )

    first, second = call(*line), call(*line)

    assert (first.code, second.code) == (0, 0)
    assert "report/mine-on-phantom-" in first.out[-1]
    assert second.out[-1] == first.out[-1]
    assert len([one for one in second.out if "found finished" in one]) == 5


def test_a_function_is_asked_as_a_black_box(
    world: Path, asked: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "black_box_of_mine.py").write_text(
        "import numpy as np\n"
        "def predict(images):\n"
        "    light = images.mean(axis=(1, 2, 3))\n"
        "    answers = np.stack([light, 0.5 + 0 * light, 1 - light], axis=1)\n"
        "    return answers / answers.sum(axis=1, keepdims=True)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    shutil.copytree(world / "out", tmp_path / "out", symlinks=True)

    outcome = call(
        *("debug", "--function", "black_box_of_mine:predict", "--image-size", 32),
        *("--classes", "normal,pneumonia,COVID-19", "--channels", 1),
        *("--films", world / "films", "--workers", 1, "--out", tmp_path / "out"),
    )

    assert (outcome.code, outcome.err) == (0, [])
    assert any("no gradients in a black box" in one for one in outcome.out)
    assert "report/function-on-phantom-" in outcome.out[-1]


def test_a_model_of_labels_wants_to_know_which(world: Path, tmp_path: Path) -> None:
    torch.save(build_backbone("resnet18_half", 3).state_dict(), tmp_path / "mine.pt")

    error = refusal(
        *("debug", "--model", tmp_path / "mine.pt", "--arch", "resnet18_half", "--channels", 1),
        *("--classes", "Edema,Mass,Nodule", "--image-size", 32, "--multi-label"),
        *("--films", world / "films", "--workers", 1, "--out", tmp_path / "out"),
    )

    assert "(Edema, Mass, Nodule); name the one that is asked about with --finding" in error


def test_each_finding_gets_its_report_and_text_is_looked_for_once(
    world: Path, tmp_path: Path
) -> None:
    torch.save(build_backbone("resnet18_half", 3).state_dict(), tmp_path / "mine.pt")
    films = load_filmset(world / "films").films
    cells = [(i % 2, int(i % 3 == 0)) for i in range(len(films))]
    cells[0], cells[1] = ("", 1), (1, "")  # neither finding is said of all films
    rows = [(str(world / "films" / film.path), *cells[i], i % 2) for i, film in enumerate(films)]
    table = write_rows(tmp_path / "t.csv", [("path", "Edema", "Mass", "Masss"), *rows])
    line = (
        *("debug", "--model", tmp_path / "mine.pt", "--arch", "resnet18_half", "--channels", 1),
        *("--classes", "Edema,Mass,Nodule", "--image-size", 32, "--multi-label", "--maps", 0),
        *("--films", table, "--workers", 1, "--out", tmp_path / "out"),
    )

    error = refusal(*line, "--finding", "Edema", "--finding", "Masss")
    assert "mine: has no label 'Masss'; did you mean 'Mass'" in error
    assert list((tmp_path / "out/films").iterdir()) == []
    error = refusal(*line, "--finding", "Edema", "--finding", "Mas")
    assert "t.csv: finding 'Mas' is no column; did you mean 'Mass'" in error
    with mock.patch("covid_debug.text.scan._scan_one", wraps=scan._scan_one) as look:
        outcome = call(*line, "--finding", "Edema", "--finding", "Mass")
    alone = call(*line, "--finding", "Mass")

    assert (outcome.code, outcome.err) == (0, [])
    assert look.call_count == len(films)
    assert sum("found finished" in said for said in alone.out) == 6
    assert any("[1/11] import the model" in said for said in outcome.out)
    assert any("[11/11] write the report" in said for said in outcome.out)
    with (tmp_path / "out/findings.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["finding"] for row in found] == ["Edema", "Mass"]
    assert [(row["films"], row["with the finding"]) for row in found] == [("7", "4"), ("7", "3")]
    assert "within a finding, not over all" in " ".join(" ".join(outcome.out).split())
    for row in found:
        page = tmp_path / "out" / row["report"]
        for one in load_run_summary(page.parent).short_answers:
            assert row[one.question] == f"{one.word}. {one.line}"
        (told,) = load_run_summary(page.parent).comparison.values()
        auc = told[f"{row['finding']}/auroc"]
        assert row["AUC"] == f"{auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f})"
        assert f"no {row['finding']}" in page.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--function", "a:b"), "name a checkpoint folder with --model"),
        (("--model", "model", "--classes", "a,b"), "is a checkpoint already"),
        (("--model", "model", "--arch", "resnet18"), "; --arch goes with --classes"),
        (("--model", "model", "--top-crop", ".1"), "; --top-crop goes with --classes"),
        (("--model", "model", "--output", "logits"), "; --output goes with --classes"),
        (("--model", "model", "--trust"), "; --trust goes with --classes"),
    ],
)
def test_options_of_a_model_that_do_not_go_together_are_one_line(
    words: tuple[str, ...], said: str, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world)

    outcome = call("debug", *words, "--films", "films", "--out", "no")

    assert outcome.code == 2
    assert said in outcome.err[0]


def test_nothing_is_written_into_the_folder_of_a_model_or_of_films(world: Path) -> None:
    for place in ("model", "films"):
        before = sorted((world / place).rglob("*"))

        (error,) = ask(world, place).err

        assert "is a finished data set, model or result, to which nothing is added" in error
        assert sorted((world / place).rglob("*")) == before


def test_films_of_one_class_are_audited_and_the_page_says_what_cannot_be_said(
    world: Path, tmp_path: Path
) -> None:
    films = load_filmset(world / "films")
    one = [film for film in films.select("test") if film.label == "normal"]
    rows = [("path", "label"), *((films.path_of(film), film.label) for film in one)]
    table = write_rows(tmp_path / "one.csv", rows)

    outcome = call(
        *("debug", "--model", world / "model", "--films", table, "--out", tmp_path / "out"),
        *("--workers", 1, "--maps", 1),
    )

    assert (outcome.code, outcome.err) == (0, [])
    page = Path(outcome.out[-1].removeprefix("Report: "))
    answer = load_run_summary(page.parent).short_answers[1]
    assert (answer.word, answer.line[:35]) == ("with care", "All test films are of one class: 0.")
    text = page.read_text(encoding="utf-8")
    assert "are &#39;normal&#39;: accuracy alone is measured, and whether" in text
    assert "1 of 2 audited films were explained by maps" in text


def test_a_split_file_of_covidx_is_one_command(world: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "model", ("negative", "positive"))
    films = load_filmset(world / "films").select("test")[:4]
    (tmp_path / "test").mkdir()
    lines = []
    for number, film in enumerate(films):
        shutil.copy(
            load_filmset(world / "films").path_of(film), tmp_path / "test" / f"{number}.png"
        )
        lines.append(f"{number} {number}.png {('negative', 'positive')[number % 2]} bimcv\n")
    (tmp_path / "test.txt").write_text("".join(lines), encoding="utf-8")
    line = ("debug", "--model", tmp_path / "model", "--films", tmp_path / "test.txt")
    assert "--layout covidx" in refusal(*line, "--out", tmp_path / "no")

    outcome = call(
        *(*line, "--layout", "covidx", "--out", tmp_path / "out", "--workers", 1, "--maps", 0)
    )

    assert (outcome.code, outcome.err) == (0, [])
    assert "4 of 4 films are usable" in " ".join(outcome.out)


def test_findings_that_were_taken_for_classes_are_suspected(world: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "model", ("Edema", "Mass", "Nodule"))
    table = write_rows(tmp_path / "t.csv", [("path", "label"), ("a", "ill"), ("b", "Mass")])

    error = refusal(
        "debug", "--model", tmp_path / "model", "--films", table, "--out", tmp_path / "no"
    )

    assert "1 film has label 'ill', which is none of the classes 'Edema', 'Mass', 'Nodule'" in error
    assert "several of the 3, import the model again with --multi-label" in error
