from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmarks.saliency import measure, rankings, yardstick
from benchmarks.saliency.command import SaliencyBench, bench_saliency, default_methods
from benchmarks.saliency.figures import write_figures, write_gallery
from benchmarks.saliency.films import FilmChoice, ModelChoice
from benchmarks.saliency.measure import run_saliency_benchmark
from benchmarks.saliency.paper import paper_markdown
from benchmarks.saliency.plain_igos_pp import PublishedConstants, explain_plainly
from benchmarks.saliency.runs import BenchFilms, BenchPlan
from benchmarks.saliency.sanity import check_igos_pp, check_randomisation, find_own_classes
from benchmarks.saliency.tables import summarise, write_tables
from benchmarks.saliency.yardstick import YARDSTICK
from covid_debug.errors import CovidDebugError, InputContractError
from covid_debug.terminal import RunConsole
from tests.toys import SIDE, Patch, SmallNet, bright_patch_images, unchecked, wrap

QUICK = PublishedConstants(n_steps=3, n_iterations=2)


@pytest.fixture
def films() -> BenchFilms:
    images = bright_patch_images(3)
    images[2] *= 0.2  # the patch model gives this one no score, so it is void
    return BenchFilms(images, torch.ones(3, dtype=torch.int64), ["a", "b", "c"], ["p", "p", "q"])


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BenchPlan:
    monkeypatch.setattr(yardstick, "explain_plainly", partial(explain_plainly, constants=QUICK))
    methods = {"igos_pp": {"n_iterations": 3}, "gradient": {}, "rise": {"n_masks": 10}}
    return BenchPlan(methods, grids=(4, SIDE), yardstick_grids=(4,), parts=tmp_path / "parts")


def test_benchmark_runs_every_method_at_every_grid_and_excludes_void_films_visibly(
    films: BenchFilms, plan: BenchPlan, tmp_path: Path
) -> None:
    said: list[str] = []

    runs = run_saliency_benchmark(wrap(Patch(4, 4, 6)), films, plan, said.append)
    rows = summarise(runs, films)
    write_tables(rows, tmp_path, facts={"films": 3})
    text = (tmp_path / "saliency.md").read_text()

    found = [(run.method, run.grid) for run in runs]
    expected = [(m, g) for m in ("igos_pp", "gradient", "rise") for g in (4, SIDE)]
    assert found == [(YARDSTICK, 4), *expected]
    row = next(r for r in rows if (r.method, r.grid) == ("igos_pp", 4))
    methods = [one for one in rows if one.method != YARDSTICK]
    assert {(one.n_ok, one.n_void, one.n_total) for one in methods} == {(2, 1, 3)}
    assert row.speedup is not None
    made = next(run for run in runs if (run.method, run.grid) == ("igos_pp", 4))
    ratio = runs[0].evaluations[:2].mean() / made.evaluations[:2].mean()
    assert row.fewer_evaluations == pytest.approx(ratio)
    assert f"| {ratio:.1f}x |" in text
    assert row.deletion_difference is not None
    assert row.deletion_difference.n == 2
    assert next(r for r in rows if r.method == YARDSTICK).n_total == 2
    assert "| igos_pp | 2 (1) |" in text
    assert (tmp_path / "saliency.csv").read_text().count("\n") == 1 + len(rows)
    assert "igos_pp" in paper_markdown(rows)


def test_benchmark_repeats_no_finished_part(
    films: BenchFilms, plan: BenchPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = wrap(Patch(4, 4, 6))
    first = run_saliency_benchmark(classifier, films, plan, lambda _: None)

    def refuse(*_: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(measure, "_run_method", refuse)
    monkeypatch.setattr(yardstick, "_explain_one", refuse)
    second = run_saliency_benchmark(classifier, films, plan, lambda _: None)

    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.saliency, b.saliency)
        np.testing.assert_array_equal(a.seconds, b.seconds)


def test_figures_and_sanity_are_written(films: BenchFilms, plan: BenchPlan, tmp_path: Path) -> None:
    classifier = wrap(Patch(4, 4, 6))
    runs = run_saliency_benchmark(classifier, films, plan, lambda _: None)
    views = (films.images[:, 0] * 255).round().to(torch.uint8).numpy()

    write_figures(runs, films, views, classifier.class_names, tmp_path, n_shown=2)

    for name in ("montage_4.jpg", "curves_4.png", f"montage_{SIDE}.jpg"):
        assert (tmp_path / name).read_bytes().startswith((b"\x89PNG", b"\xff\xd8"))

    write_gallery(tmp_path / "gallery", tmp_path, "| a table |", n_films=3, yardsticks=[4])

    page = (tmp_path / "gallery" / "README.md").read_text()
    assert "(montage_4.jpg)" in page
    assert f"--films 3 --grid 4 --grid {SIDE} --yardstick 4\n" in page
    assert "| a table |" in page
    assert (tmp_path / "gallery" / "curves_4.png").is_file()


@pytest.mark.slow
def test_sanity_section_names_every_check(films: BenchFilms, tmp_path: Path) -> None:
    model, control = wrap(SmallNet(3, 32), 32, 3), wrap(SmallNet(3, 32), 32, 3)
    films = replace(films, images=functional.interpolate(films.images, size=32))
    text = check_igos_pp(model, films, tmp_path, control=control, seed=0, say=lambda _: None)

    assert "randomising down to" in text
    assert "training on shuffled labels" in text
    assert "MI-FGSM" in text


def test_maps_of_randomised_models_are_compared_for_every_method(
    films: BenchFilms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.saliency.sanity.RANDOMISED", ("integrated_gradients", "lrp"))
    model = wrap(SmallNet(3, 32), 32, 3)
    films = replace(films, images=functional.interpolate(films.images, size=32))
    text = check_randomisation(model, films, tmp_path, seed=0, say=lambda _: None)

    assert text.count("| the trained model's |") == text.count("| each model's own |") == 2
    assert (tmp_path / "sanity_methods.csv").read_text().count("\n") == 5


def test_the_own_class_is_the_one_that_falls_most(films: BenchFilms) -> None:
    own = find_own_classes(wrap(Patch(4, 4, 6)), films.images)
    assert own.shape == (len(films.images),)
    assert set(own.tolist()) <= {0, 1}


def test_sanity_checks_do_not_depend_on_the_order_of_films(
    films: BenchFilms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dice:
        """Maps and traces made of the seeds alone."""

        def explain(self, model, images, targets, *, seeds, scale="probability"):
            make = torch.Generator().manual_seed
            throws = [torch.rand(32 * 32, generator=make(s)) for s in seeds]
            maps = torch.stack(throws).view(images.shape)
            traces = torch.stack([t[:50].sort(descending=True).values for t in throws])
            void = torch.zeros(len(seeds), dtype=torch.bool)
            return SimpleNamespace(saliency=maps, diagnostics={"void": void, "loss": traces})

    monkeypatch.setattr("benchmarks.saliency.sanity.build_explainer", lambda _: Dice())
    model = wrap(SmallNet(3, 32), 32, 3)
    films = replace(films, images=functional.interpolate(films.images, size=32))
    order = [2, 0, 1]
    turned = BenchFilms(
        films.images[order],
        films.targets[order],
        [films.names[i] for i in order],
        [films.patients[i] for i in order],
    )
    written = []
    for given, folder in ((films, tmp_path / "a"), (turned, tmp_path / "b")):
        folder.mkdir()
        check_igos_pp(model, given, folder, control=None, seed=0, say=lambda _: None)
        written.append((folder / "sanity.csv").read_text())

    assert written[0] == written[1]


def test_default_methods_name_a_spatial_layer_for_grad_cam() -> None:
    classifier = wrap(SmallNet(3), SIDE, 3)

    assert default_methods(classifier)["grad_cam"] == {"target_layer": "pool"}


def test_errors_of_models_and_films_are_one_clear_line(tmp_path: Path) -> None:
    somewhere, console = FilmChoice(tmp_path), RunConsole()

    with pytest.raises(InputContractError, match="give --checkpoint DIR for these films"):
        bench_saliency(SaliencyBench(ModelChoice(), somewhere), tmp_path, console)
    with pytest.raises(CovidDebugError, match="nowhere"):
        ModelChoice().load(tmp_path / "nowhere")


def test_control_of_the_sanity_checks_is_built_by_the_same_factory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    monkeypatch.setattr(
        "benchmarks.saliency.films.load_checkpoint",
        lambda folder, *, device, factory: loaded.append((folder.name, device, factory)),
    )
    choice = ModelChoice(tmp_path / "model", "builtins:dict", "cpu")

    for folder in (tmp_path / "model", tmp_path / "control"):
        choice.load(folder)

    assert loaded == [("model", "cpu", dict), ("control", "cpu", dict)]


def test_unknown_split_is_refused(tmp_path: Path) -> None:
    with unchecked(), pytest.raises(InputContractError, match="'tset': expected one of train, val"):
        FilmChoice(tmp_path, split="tset").load(None, tmp_path, 0, RunConsole())


def test_split_of_a_folder_is_refused(tmp_path: Path) -> None:
    with unchecked(), pytest.raises(InputContractError, match="folder of images, which has no spl"):
        FilmChoice(tmp_path, split="val").load(None, tmp_path, 0, RunConsole())


@pytest.mark.parametrize(
    ("search", "n_films", "message"),
    [("igos_p", 1, "'igos_p': expected one of"), ("igos_pp", 0, "give --rankings FILMS, too")],
)
def test_searches_that_no_table_has_are_refused(search: str, n_films: int, message: str) -> None:
    request = SaliencyBench(ModelChoice(), FilmChoice(), ranking_films=n_films, searches=(search,))
    with unchecked(), pytest.raises(InputContractError, match=message):
        bench_saliency(request, Path("unused"), RunConsole())


def test_rankings_alone_are_measured_where_no_method_is_named(
    films: BenchFilms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches = {"igos_pp": {"n_iterations": 2}, "path_gradient": {"n_steps": 2}}
    monkeypatch.setattr(rankings, "SEARCHES", searches)
    monkeypatch.setattr("benchmarks.saliency.command.SEARCHES", searches)
    loaded = SimpleNamespace(classifier=wrap(Patch(4, 4, 6)))
    monkeypatch.setattr(ModelChoice, "load", lambda *_: loaded)
    monkeypatch.setattr(FilmChoice, "load", lambda *_: (films, None))
    request = SaliencyBench(
        ModelChoice(tmp_path), FilmChoice(tmp_path), grids=(4,), ranking_films=2
    )

    with unchecked():
        text = bench_saliency(request, tmp_path, RunConsole())

    assert text.startswith("### Search x ranking, 4 x 4")
    assert (tmp_path / "rankings-4" / "rankings.csv").is_file()
    assert not (tmp_path / "saliency.csv").exists()
    with unchecked():
        text = bench_saliency(replace(request, searches=("path_gradient",)), tmp_path, RunConsole())
    assert "| path_gradient |" in text
    assert "igos_pp |" not in text
