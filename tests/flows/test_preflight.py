"""What can be known before the first stage is refused before it, in one clear line."""

import itertools
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from covid_debug.clock import Cost
from covid_debug.config.loader import build_config
from covid_debug.config.schema import RunConfig
from covid_debug.errors import CovidDebugError
from covid_debug.evaluation.power import plan_smallest_effect
from covid_debug.preflight import checks as preflight
from covid_debug.preflight import costs, timing
from covid_debug.preflight.checks import check_run
from covid_debug.preflight.costs import (
    StageCost,
    describe_deviation,
    describe_effect,
    describe_plan,
    plan_stages,
    plan_start,
)
from covid_debug.preflight.sample import list_films, take_sample
from covid_debug.preflight.sharing import describe_sharing
from covid_debug.preflight.timing import WorkPrices, measure_prices
from flows.debug_covidx import count_stages
from tests.films import build_filmset, draw_film, make_film
from tests.toys import SIDE, Patch, wrap

BINARY = ("negative", "positive")


def make_config(folder: Path, **changes: Any) -> RunConfig:
    tree: dict[str, Any] = {
        "name": "t",
        "data": {"kind": "phantom", "n_train": 30, "n_test": 6},
        "view": {"image_size": 64},
        "text": {"detector": "marker"},
        "training": {"arch": "resnet18_half"},
        "tracking": {"uri": f"sqlite:///{folder}/mlflow.db"},
        "data_dir": f"{folder}/data",
        "reports_dir": f"{folder}/reports",
    }
    for key, value in changes.items():
        place, *names = [tree, *key.split("__")]
        for name in names[:-1]:
            place = place.setdefault(name, {})
        place[names[-1]] = value
    return build_config(tree, where="test")


def make_covidx(folder: Path, train: Sequence[str], *, test: Sequence[str] = BINARY) -> Any:
    for split, labels in (("train", train), ("test", test)):
        (folder / split).mkdir(parents=True)
        rows = [f"p{i} {i}.png {label} site" for i, label in enumerate(labels)]
        (folder / f"{split}.txt").write_text("\n".join(rows) + "\n")
        for i in range(len(labels)):
            (folder / split / f"{i}.png").touch()
    return {
        "kind": "covidx",
        "folder": str(folder),
        "train_list": str(folder / "train.txt"),
        "test_list": str(folder / "test.txt"),
    }


@pytest.fixture(autouse=True)
def with_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its presence is asked for here."""
    monkeypatch.setattr(preflight, "require", lambda *_, purpose: None)


def test_sound_run_passes_and_leaves_nothing(tmp_path: Path) -> None:
    facts = check_run(make_config(tmp_path))

    assert (facts.n_films, facts.n_test, facts.n_test_patients) == (36, 6, 6)
    assert facts.class_names == ("normal", "pneumonia", "COVID-19")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("compute__device", "gpu", "compute.device is 'gpu'; expected cpu, cuda"),
        (
            "compute",
            {"runner": "dask", "address": "10.0.0.5"},
            "is '10.0.0.5'; exp",
        ),
        (
            "compute",
            {"runner": "dask", "address": "tcp://127.0.0.1:9"},
            "compute.address tcp://127.0.0.1:9: no Dask scheduler answers .* `dask scheduler`",
        ),
        ("compute__device", "cuda:99", "compute.device is 'cuda:99' and torch sees"),
        ("compute__devices", 17, "batch_size is 32 and compute.devices is 17; expected at least"),
        ("audit__target_class", "COVID19", "target_class 'COVID19' .* did you mean 'COVID-19'"),
        ("training__target_class", "covid", "target_class 'covid' is not a class"),
        ("training__class_weights", {"norml": 2.0}, "did you mean 'normal'"),
        ("training__arch", "resnet19", "did you mean 'resnet18'"),
        ("training__arch_params", {"depth": 3}, "resnet18_half cannot be built with"),
        ("training__weights_path", "/no/weights.pt", "/no/weights.pt: no such weights file"),
        ("text__detector", "markr", "did you mean 'marker'"),
        ("text__params", {"treshold": 1}, "has no parameter 'treshold'"),
        ("text", {"detector": "rapidocr", "params": {"box_threshold": "much"}}, "box_threshold is"),
        ("text", {"detector": "craft", "params": {"weights": "/no/craft.pth"}}, "/no/craft.pth"),
        ("audit__igos", {"n_iteration": 3}, "n_iteration"),
        ("audit__igos", {"n_iterations": "ten"}, "audit.igos = .*'ten'}: wrong type of a value"),
        ("audit__map_methods", ["grad_camm"], "unknown name 'grad_camm'; did you mean 'grad_cam'"),
        ("audit__map_methods", [], "map_methods are empty"),
        ("audit__grid_size", 65, "grid_size is 65 .* 64 pixels"),
        ("audit__igos", {"grid_size": 8}, "igos holds grid_size"),
        ("text__kinds", "/no/kinds.yaml", "/no/kinds.yaml: cannot be read"),
        ("data__n_train", 4, "no val film of class"),
        ("data", {"kind": "sources", "sources": {"chen": "x"}}, "did you mean 'cohen'"),
        ("data", {"kind": "sources", "sources": {"nih": "/nope"}}, "no such folder /nope"),
        ("data_dir", "/proc/nope", "data_dir /proc/nope: cannot be written .* data_dir=DIR"),
        ("reports_dir", "/proc/nope", "reports_dir /proc/nope: cannot be written"),
        ("tracking__uri", "file:///tmp/x", "tracking.uri .* form is not supported"),
    ],
)
def test_run_that_would_fail_later_is_refused(
    tmp_path: Path, key: str, value: object, message: str
) -> None:
    with pytest.raises(CovidDebugError, match=message):
        check_run(make_config(tmp_path, **{key: value}))


def test_tracking_file_in_a_new_folder_is_accepted_and_the_folder_not_made(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new/folder/mlflow.db"

    check_run(make_config(tmp_path, tracking__uri=uri))

    assert list(tmp_path.iterdir()) == []


def test_images_too_small_for_the_network_are_refused(tmp_path: Path) -> None:
    changes = {"view__image_size": 16, "training__arch": "densenet121"}

    with pytest.raises(CovidDebugError, match=r"image_size is 16: too small .*densenet121"):
        check_run(make_config(tmp_path, **changes))


@pytest.mark.parametrize("action", ["keep", "replace"])
def test_policy_for_markers_needs_found_text_to_be_read(tmp_path: Path, action: str) -> None:
    policy = {"side_marker": action}
    unread = {"detector": "marker", "read_content": False}

    check_run(make_config(tmp_path, cleaning__policy=policy))
    check_run(make_config(tmp_path, text=unread, cleaning__policy={"annotation": "keep"}))
    with pytest.raises(
        CovidDebugError, match=rf"side_marker: {action}.*text.read_content is false"
    ):
        check_run(make_config(tmp_path, text=unread, cleaning__policy=policy))


def test_binary_lists_have_other_classes(tmp_path: Path) -> None:
    data = make_covidx(tmp_path / "covidx", BINARY * 2)

    with pytest.raises(CovidDebugError, match=r"'COVID-19' .* \(known: negative, positive\)"):
        check_run(make_config(tmp_path, data=data, audit__target_class="COVID-19"))
    for target in ("positive", None):  # None: every class is audited
        facts = check_run(make_config(tmp_path, data=data, audit__target_class=target))

        assert (facts.class_names, facts.n_films, facts.n_test) == (BINARY, 6, 2)
        assert facts.n_test_patients == 2


def test_training_list_without_a_class_is_refused(tmp_path: Path) -> None:
    data = make_covidx(tmp_path / "covidx", ["negative"] * 4)

    with pytest.raises(CovidDebugError, match=r"train.txt: class 'positive' has 0 patients"):
        check_run(make_config(tmp_path, data=data, audit__target_class="positive"))


def test_absent_films_folder_and_list_are_named(tmp_path: Path) -> None:
    data = make_covidx(tmp_path / "covidx", BINARY * 2)
    target = {"audit__target_class": "positive"}

    with pytest.raises(CovidDebugError, match=r"data.folder: no such folder /nope .*--set"):
        check_run(make_config(tmp_path, data=data | {"folder": "/nope"}, **target))
    with pytest.raises(CovidDebugError, match=r"nope.txt: no such file"):
        check_run(make_config(tmp_path, data=data | {"test_list": "nope.txt"}, **target))
    (tmp_path / "covidx/test/1.png").rename(tmp_path / "covidx/test/b 1.png")
    line = "p1 b 1.png positive site"
    (tmp_path / "covidx/test.txt").write_text(f"p0 0.png negative site\n{line}\n")
    with pytest.raises(CovidDebugError, match=r"test.txt:2: names the file 'b 1.png'; .* spaces"):
        check_run(make_config(tmp_path, data=data, **target))
    (tmp_path / "covidx/test/b 1.png").unlink()
    with pytest.raises(CovidDebugError, match=r"1 of 2 listed films are absent .*test/1.png"):
        check_run(make_config(tmp_path, data=data, **target))


def test_disk_without_room_for_the_estimate_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=1_000_000)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: usage)

    with pytest.raises(CovidDebugError, match=r"1 MB are free and the run needs about [0-9]+ MB"):
        check_run(make_config(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/views").write_bytes(bytes(18_000_000))  # made by an earlier start
    check_run(make_config(tmp_path))


def test_external_films_of_other_classes_or_without_test_films_are_refused(tmp_path: Path) -> None:
    other = build_filmset(tmp_path / "sound", [make_film(8)])
    build_filmset(tmp_path / "train-only", [make_film(0)])
    check_run(make_config(tmp_path, external={"there": str(other.root)}))

    for folder, message in (
        ("/nope", "external.there: no such folder /nope"),
        (str(tmp_path / "train-only"), "external.there: .* has 0 test films of normal, pneumonia"),
    ):
        with pytest.raises(CovidDebugError, match=message):
            check_run(make_config(tmp_path, external={"there": folder}))
    data = make_covidx(tmp_path / "covidx", BINARY * 2)
    with pytest.raises(CovidDebugError, match=r"1 test films of normal, .*; expected .* negative"):
        check_run(make_config(tmp_path, data=data, external={"there": str(other.root)}))


def test_leaving_out_the_only_source_is_refused(tmp_path: Path) -> None:
    data = make_covidx(tmp_path / "covidx", BINARY * 2)

    with pytest.raises(CovidDebugError, match="leave_out_sources is true and no source can"):
        check_run(make_config(tmp_path, data=data, leave_out_sources=True))
    assert len(check_run(make_config(tmp_path, leave_out_sources=True)).folds) == 6
    with pytest.raises(CovidDebugError, match=r"leave_out_sources = \['nowhere'\]: expected true"):
        check_run(make_config(tmp_path, leave_out_sources=["nowhere"]))


def test_plan_of_one_seed_says_that_it_will_give_no_verdict(tmp_path: Path) -> None:
    config = make_config(tmp_path)

    questions, effect = describe_effect(config, check_run(config))

    assert questions == (
        "questions: dependence, text_free; not asked: unseen_source, beyond_placebo"
    )
    assert effect == (
        "smallest effect: one training of each arm gives no verdict; use seeds: [0, 1, 2]"
    )


def test_plan_of_three_seeds_says_the_smallest_effect_which_falls_with_patients(
    tmp_path: Path,
) -> None:
    arms = ["original", "cleaned", "placebo"]
    config = make_config(tmp_path, seeds=[0, 1, 2], arms=arms)
    facts = check_run(config)

    questions, effect = describe_effect(config, replace(facts, n_test_patients=100))
    (_, smaller) = describe_effect(config, replace(facts, n_test_patients=1000))

    assert questions.startswith("questions: dependence, text_free, beyond_placebo; not asked")
    assert "with 3 seeds and about 100 test patients" in effect
    points = [float(line.split("differences of ")[1].split()[0]) for line in (effect, smaller)]
    assert points[0] == round(100 * plan_smallest_effect(100, 3, 3), 1)
    assert points[1] < points[0]


def test_plan_of_two_seeds_and_few_patients_promises_nothing(tmp_path: Path) -> None:
    config = make_config(tmp_path, seeds=[0, 1])

    (_, effect) = describe_effect(config, replace(check_run(config), n_test_patients=30))

    assert effect == (
        "smallest effect: with 2 seeds and about 30 test patients, no difference of balanced"
        " accuracy is large enough to be shown in 80 of 100 such runs; use more seeds"
    )


def test_plan_without_a_question_names_no_effect(tmp_path: Path) -> None:
    config = make_config(tmp_path, arms=["original", "placebo"], seeds=[0, 1])

    assert list(describe_effect(config, check_run(config))) == [
        "questions: none; not asked: dependence, text_free, unseen_source, beyond_placebo"
    ]


def test_plan_warns_of_names_that_stay(tmp_path: Path) -> None:
    config = make_config(tmp_path, cleaning__policy={"identity": "keep", "date": "remove"})

    first = itertools.islice(describe_plan(config), 4)

    assert any(line.startswith("warning: policy identity=keep leaves names") for line in first)


def test_maps_of_every_method_are_priced_and_a_refused_one_says_why(tmp_path: Path) -> None:
    audit = {"grid_size": 4, "map_methods": ["area_path", "grad_cam"]}
    config = make_config(tmp_path, view__image_size=SIDE, audit=audit)
    views = np.zeros((2, SIDE, SIDE), np.uint8)

    cost, n_evaluations, refused = timing._time_maps(config, wrap(Patch(2, 2, 4)), views)

    assert cost.clock_s > 0
    assert n_evaluations == 60  # of the area path alone
    assert list(refused) == ["grad_cam"]
    assert refused["grad_cam"].endswith("; use occlusion or rise")


PLANNED = {
    "data": {"kind": "phantom", "n_train": 60, "n_test": 30},
    "arms": ["original", "cleaned", "lung_crop"],
    "tests": ["cleaned", "swapped"],
    "seeds": [0, 1],
    "audit": {"grid_size": 4, "max_explained": 2, "n_nulls": 4},
}


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, WorkPrices]:
    """Return a run and what its work costs, measured on three films."""
    folder = tmp_path_factory.mktemp("planned")
    config = make_config(folder, **PLANNED)
    prices = measure_prices(config, list_films(config), 30, part_s=0.01, n_sampled=6)
    assert list(folder.iterdir()) == []
    return config, prices


def test_every_kind_of_work_is_measured(planned: tuple[RunConfig, WorkPrices]) -> None:
    _, prices = planned

    costs = {
        item.name: value
        for item in fields(prices)
        if isinstance(value := getattr(prices, item.name), Cost)
    }
    rests = {"listed", "trained", "version_rest"}  # differences, which may come out as nothing
    assert rests <= set(costs)
    assert {name for name, cost in costs.items() if cost.clock_s <= 0} <= rests
    assert min(cost.clock_s for cost in costs.values()) >= 0
    assert set(prices.versions) == {"cleaned", "swapped", "lung_crop"}
    assert set(prices.steps) == {"original", "cleaned", "lung_crop"}
    assert min(prices.version_mb.values()) > 0


def test_plan_has_the_stages_that_the_run_prints(
    planned: tuple[RunConfig, WorkPrices],
) -> None:
    config, prices = planned

    stages = plan_stages(config, check_run(config), list_films(config), prices)

    assert len(stages) == count_stages(config)
    assert "Train lung_crop, seed 1" in stages
    assert "Audit: does text drive the cleaned model, seed 0?" in stages


def test_plan_grows_with_films_and_shrinks_with_workers_where_films_are_shared(
    planned: tuple[RunConfig, WorkPrices],
) -> None:
    config, prices = planned
    more = make_config(Path(config.data_dir).parent, **PLANNED | {"data__n_train": 600})
    small, large = (
        plan_stages(item, check_run(item), list_films(item), prices) for item in (config, more)
    )

    text = "Find burned-in text on every film"
    assert large[text].shared.clock_s == pytest.approx(small[text].shared.clock_s * 630 / 90)
    assert large["Train original, seed 1"].processor_s > small["Train original, seed 1"].processor_s
    stage = StageCost(shared=Cost(10.0, 12.0), whole=Cost(5.0, 5.0))
    assert (stage.clock_s(1), stage.clock_s(4)) == (17.0, 8.0)
    assert stage.processor_s == 17.0


def test_devices_share_the_steps_of_a_training_and_processes_of_the_cpu_do_not(
    planned: tuple[RunConfig, WorkPrices],
) -> None:
    config, measured = planned
    facts, films = check_run(config), list_films(config)
    second = Cost(1.0, 1.0)
    steps_alone = replace(measured, steps={"original": second}, forward=Cost(), trained=Cost())
    rest_alone = replace(steps_alone, steps={"original": Cost()}, forward=second, trained=second)

    def plan(prices: WorkPrices, **compute: object) -> tuple[Cost, list[str]]:
        changed = replace(config, arms=("original",), compute=replace(config.compute, **compute))
        stage = plan_stages(changed, facts, films, prices)["Train original, seed 1"]
        return stage.whole, list(describe_sharing(changed))

    one, said = plan(steps_alone)
    gpus, said_gpus = plan(steps_alone, device="cuda", devices=4)
    processes, said_processes = plan(steps_alone, devices=4)

    assert said == []
    assert gpus == Cost(one.clock_s / 4, one.processor_s)
    assert one.clock_s > 0
    assert said_gpus[0].startswith("training: 4 devices are taken to share its steps evenly")
    assert plan(rest_alone, device="cuda", devices=4)[0] == plan(rest_alone)[0]
    assert processes == one
    assert said_processes[0].startswith("training: 4 processes share the cores of this machine")


def test_deviation_is_named_by_stage_and_in_total(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    planned = {
        "Train original, seed 0": StageCost(whole=Cost(60.0, 100.0)),
        "Train cleaned, seed 0": StageCost(whole=Cost(60.0, 100.0)),
        "Report": StageCost(whole=Cost(0.1, 0.1)),
    }
    took = {
        "Train original, seed 0": Cost(70.0, 90.0),
        "Train cleaned, seed 0": Cost(80.0, 90.0),
        "Report": Cost(0.1, 0.1),
    }

    lines = [" ".join(line.split()) for line in describe_deviation(config, planned, took)]

    assert lines == [
        "stage planned took",
        "Train the models 2 min 0 s 2 min 30 s",
        "total 2 min 0 s 2 min 30 s (+25%)",
        "processor time 3 min 20 s 3 min 0 s (-10%)",
    ]


def test_start_of_a_run_that_is_small_goes_on_or_cannot_be_read_is_not_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = make_covidx(tmp_path / "films", BINARY * 2)  # empty files
    binary = {"data": films, "audit__target_class": "positive"}
    assert plan_start(make_config(tmp_path, **binary)) == {}

    monkeypatch.setattr(costs, "_LEAST_FILMS", 1)
    assert plan_start(make_config(tmp_path, **binary)) == {}

    config = make_config(tmp_path)
    (config.data_dir / config.data.key()).mkdir(parents=True)
    assert plan_start(config) == {}


def test_films_that_cannot_be_read_are_passed_over_in_the_sample(tmp_path: Path) -> None:
    data = make_covidx(tmp_path / "films", BINARY * 4)
    for i in range(3, 8):
        draw_film(tmp_path / f"films/train/{i}.png", i)
    config = make_config(tmp_path, data=data, audit__target_class="positive")
    listed = list_films(config)

    sample = take_sample(config, listed, tmp_path / "sample", len(listed))

    assert len(sample.filmset.films) == 5
    with pytest.raises(CovidDebugError, match=r"0 of 2 films drawn .* can be read"):
        take_sample(config, listed[-2:], tmp_path / "none", 2)
