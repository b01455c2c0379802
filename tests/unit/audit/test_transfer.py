"""Markers are laid as they were taken, a model that reads one is found out, others are not."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from covid_debug.artifacts import find_damage, read_manifest, write_artifact
from covid_debug.audit.markers import take_apart
from covid_debug.audit.transfer import (
    TransferParams,
    TransferSubject,
    draw_layings,
)
from covid_debug.audit.transfer_effects import MIN_PATIENTS, compute_effects
from covid_debug.audit.transfer_record import (
    ANY,
    OTHER,
    Layings,
    conclude_transfer,
    describe_transfer,
    load_transfer,
)
from covid_debug.audit.transfer_stage import TransferRequest, transfer_markers
from covid_debug.data.filmset import FilmSet, load_filmset, write_films
from covid_debug.errors import ArtifactError, DataIntegrityError, InputContractError
from covid_debug.evaluation.crossed import add_seeds
from covid_debug.evaluation.statistics import Estimate
from covid_debug.imaging.geometry import ViewSpec, render_view
from covid_debug.imaging.writing import write_png
from covid_debug.models.checkpoint import LoadedModel
from covid_debug.models.classifier import Classifier
from covid_debug.records import FilmRegions, TextRegion
from covid_debug.stages import Means
from tests.films import make_film, recorded

SIDE = 32
SPEC = ViewSpec(SIDE, 0.0)
PARAMS = TransferParams(n_draws=3, dilation_px=0, radius_px=3.0)
BOX = (4, 4, 12, 9)  # x0, y0, x1, y1 of every marker
STRIPES = np.zeros((5, 8), np.int16)
STRIPES[::2] = 100  # "letters" of source a
BLOCK = np.full((5, 8), 60, np.int16)  # source b has the same brightness and no letters
UNBOUNDED = (-math.inf, math.inf)
CLASS_NAMES = ("normal", "COVID-19")


class ReadsStripes(nn.Module):
    """Logit of class 1: contrast of stripes at the marker's place, in gray levels / 10, less 5."""

    def __init__(self, slope: float = 1.0) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, images: Tensor) -> Tensor:
        x0, y0, x1, y1 = BOX
        place = images[:, 0, y0:y1, x0:x1] * 25.5
        stripes = place[:, ::2].mean(dim=(1, 2)) - place[:, 1::2].mean(dim=(1, 2))
        logit = self.slope * stripes - 5
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


class ReadsBrightness(nn.Module):
    """Logit of class 1: mean gray level of the whole view."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(25.5))

    def forward(self, images: Tensor) -> Tensor:
        logit = self.slope * images.mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


def _wrap(module: nn.Module) -> LoadedModel:
    classifier = Classifier(module, class_names=CLASS_NAMES, image_size=(SIDE, SIDE)).eval()
    return LoadedModel(classifier, SPEC, {})


def _region() -> TextRegion:
    x0, y0, x1, y1 = (float(value) for value in BOX)
    return TextRegion(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), 0.9, None, "made")


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> tuple[FilmSet, dict[str, FilmRegions]]:
    """Twelve flat films each of source a (stripes, COVID-19) and of source b (block, normal)."""
    folder = tmp_path_factory.mktemp("transfer") / "films"
    made, regions = [], {}
    with write_artifact(folder, kind="filmset") as draft:
        for i in range(24):
            source, label, marker = (("a", "COVID-19", STRIPES), ("b", "normal", BLOCK))[i % 2]
            pixels = np.full((SIDE, SIDE), 40 + i, np.uint8)
            x0, y0, x1, y1 = BOX
            pixels[y0:y1, x0:x1] += marker.astype(np.uint8)
            path = draft.path / f"{i}.png"
            write_png(path, pixels)
            name = f"{i:016x}"
            sha256, low, high = recorded(path)
            changes = {"path": f"{i}.png", "sha256": sha256, "window_low": low}
            changes |= {"patient_id": f"{source}:{i}", "source": source, "label": label}
            changes |= {"window_high": high, "split": "test", "width": SIDE, "height": SIDE}
            made.append(make_film(i, **changes))
            regions[name] = FilmRegions(name, SIDE, SIDE, (_region(),))
        write_films(draft.path, made)
        draft.facts.update(name="toy", class_names=list(CLASS_NAMES), n_ok=24, n_total=24)
    return load_filmset(folder), regions


def _request(out: Path) -> TransferRequest:
    return TransferRequest((out,), out, out, PARAMS)


def _transfer(world, out: Path, models: dict[str, LoadedModel], **changes: object):
    filmset, regions = world
    subject = TransferSubject(models, filmset, filmset.select("test"), regions, PARAMS, 0)
    means = Means(cache_dir=out.parent, n_workers=1)
    return transfer_markers(replace(subject, **changes), out, means, _request(out))


def _far(result, source: str, measure: str, class_name: str):
    (effect,) = result.select(
        donor_source=source,
        recipient_source=OTHER,
        marker=ANY,
        measure=measure,
        class_name=class_name,
    )
    return effect


def test_a_films_own_marker_on_its_own_text_free_view_gives_the_film_back():
    film = np.random.default_rng(0).integers(0, 256, (70, 64)).astype(np.uint8)
    regions = FilmRegions("a", 64, 70, (_region(),))

    apart = take_apart(film, regions, SPEC, dilation_px=2, method="telea", radius_px=3.0)

    np.testing.assert_array_equal(apart.marker.laid_on(apart.text_free), apart.view)
    np.testing.assert_array_equal(apart.view, render_view(film, SPEC))
    assert not np.array_equal(apart.text_free, apart.view)


def test_a_shuffled_marker_has_the_same_levels_at_the_same_place_in_another_order():
    film = np.random.default_rng(0).integers(0, 256, (70, 64)).astype(np.uint8)
    regions = FilmRegions("a", 64, 70, (_region(),))
    marker = take_apart(film, regions, SPEC, dilation_px=2, method="telea", radius_px=3.0).marker

    dealt = marker.shuffled(1)

    for (places, gains), (other_places, other_gains) in zip(
        marker.pieces, dealt.pieces, strict=True
    ):
        np.testing.assert_array_equal(places, other_places)
        np.testing.assert_array_equal(np.sort(gains), np.sort(other_gains))
        assert not np.array_equal(gains, other_gains)
    gray = np.full((SIDE, SIDE), 128, np.uint8)
    np.testing.assert_array_equal(dealt.laid_on(gray), marker.shuffled(1).laid_on(gray))


def test_a_laid_marker_is_cut_at_black_and_white():
    film = np.full((SIDE, SIDE), 40, np.uint8)
    film[4:9, 4:12] = 240
    regions = FilmRegions("a", SIDE, SIDE, (_region(),))
    marker = take_apart(film, regions, SPEC, dilation_px=0, method="telea", radius_px=3.0).marker

    laid = marker.laid_on(np.full((SIDE, SIDE), 100, np.uint8))

    assert laid[4:9, 4:12].min() == laid.max() == 255
    assert (laid == 100).sum() == SIDE * SIDE - 40


@pytest.mark.parametrize(
    ("content", "box", "name"),
    [
        ("L", BOX, "L"),
        (None, BOX, "top left"),
        (None, (24, 4, 30, 8), "top right"),
        (None, (24, 26, 30, 30), "bottom right"),
    ],
)
def test_a_marker_is_named_by_its_letters_else_by_its_place(content, box, name):
    x0, y0, x1, y1 = (float(value) for value in box)
    region = TextRegion(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), 0.9, content, "made")
    film = np.full((SIDE, SIDE), 40, np.uint8)
    regions = FilmRegions("a", SIDE, SIDE, (region,))

    apart = take_apart(film, regions, SPEC, dilation_px=0, method="telea", radius_px=3.0)

    assert apart.marker.name == name


def test_an_annotation_is_no_part_of_the_marker():
    film = np.full((SIDE, SIDE), 40, np.uint8)
    film[8:12, 8:12] = film[26:30, 24:28] = 220
    arrow = TextRegion(((24.0, 26.0), (28.0, 26.0), (28.0, 30.0), (24.0, 30.0)), 0.9, None, "made")
    regions = FilmRegions("a", SIDE, SIDE, (_region(), replace(arrow, kind="annotation")))

    apart = take_apart(film, regions, SPEC, dilation_px=0, method="telea", radius_px=3.0)

    text_alone = replace(regions, regions=(_region(),))
    alone = take_apart(film, text_alone, SPEC, dilation_px=0, method="telea", radius_px=3.0)
    np.testing.assert_array_equal(apart.text_free, alone.text_free)
    assert apart.marker.name == alone.marker.name


def test_regions_of_a_film_of_another_size_are_refused():
    with pytest.raises(DataIntegrityError, match=r"a: is 32 x 32 pixels.*detect the text again"):
        take_apart(
            np.zeros((SIDE, SIDE), np.uint8),
            FilmRegions("a", 50, 50, (_region(),)),
            SPEC,
            dilation_px=0,
            method="telea",
            radius_px=3.0,
        )


def test_donors_are_other_patients_and_each_only_once_a_group():
    films = tuple(
        make_film(i, source="ab"[i % 2], patient_id=f"p{i // 4}", label="normal") for i in range(24)
    )

    laid = draw_layings(films, 3, 0)

    for taker, film in enumerate(films):
        givers = [films[giver] for row, giver in laid if row == taker]
        assert all(giver.patient_id != film.patient_id for giver in givers)
        for source in "ab":
            patients = [giver.patient_id for giver in givers if giver.source == source]
            assert len(patients) == len(set(patients)) == 3
    part = [(films[t].image_id, films[g].image_id) for t, g in laid]
    backwards = draw_layings(films[::-1], 3, 0)
    again = [(films[::-1][t].image_id, films[::-1][g].image_id) for t, g in backwards]
    assert sorted(part) == sorted(again)


def test_a_model_that_reads_the_stripes_of_one_source_is_found_out(films, tmp_path):
    result = _transfer(films, tmp_path / "out", {"s0": _wrap(ReadsStripes())})

    # Stripes of 100 gray levels are 10 log-odds; a block has none, whatever its place.
    laid, site = (_far(result, "a", measure, "COVID-19") for measure in ("laid", "site"))
    assert laid.value == pytest.approx(10.0, abs=0.02)  # float32 softmax
    assert site.value == pytest.approx(10.0, abs=0.02)
    reading = _far(result, "a", "reading", "COVID-19")
    assert reading.low > 5
    assert reading.value == pytest.approx(10.0, abs=2.0)
    assert _far(result, "a", "reading", "normal").value == pytest.approx(-reading.value)
    assert _far(result, "b", "reading", "COVID-19").value == pytest.approx(0.0, abs=0.02)
    shares = ("changed_marker", "changed_shuffled", "changed_by_own_text")
    assert [_far(result, "a", share, ANY).value for share in shares] == [1.0, 0.0, 0.0]
    # A block instead of stripes takes 10 log-odds of COVID-19 away, so b's markers speak of b too.
    assert conclude_transfer(result).endswith(
        "of 2 with an interval: by letters: a COVID-19; by site: a COVID-19, b normal"
    )


def test_a_model_of_brightness_reads_nothing_and_knows_the_site_by_brightness(films, tmp_path):
    result = _transfer(films, tmp_path / "out", {"s0": _wrap(ReadsBrightness())})

    reading = _far(result, "a", "reading", "COVID-19")
    assert reading.value == pytest.approx(0.0, abs=1e-3)
    assert reading.low <= 0 <= reading.high
    # Both add 60 gray levels on 40 of 1,024 pixels, so the site does not matter either.
    assert _far(result, "a", "laid", "COVID-19").value == pytest.approx(0.234, abs=0.001)
    assert _far(result, "a", "site", "COVID-19").value == pytest.approx(0.0, abs=1e-3)


def _draw_network(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        first, second = nn.Conv2d(1, 8, 5, 2), nn.Conv2d(8, 8, 3, 2)
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), pool, nn.Linear(8, 2))


def test_random_networks_that_cannot_read_show_no_effect_at_the_stated_rate(films, tmp_path):
    models = {f"s{seed}": _wrap(_draw_network(seed)) for seed in range(40)}

    result = _transfer(films, tmp_path / "out", models, params=replace(PARAMS, n_draws=1))

    for measure in ("reading", "site"):
        values = _far(result, "a", measure, "COVID-19").seed_values
        # Ten trainings of four seeds; the interval of the seeds alone lies inside the one given.
        alone = {"n_clusters": 9, "bounds": UNBOUNDED}
        trials = [
            add_seeds(some, Estimate(np.mean(some), *[np.mean(some)] * 2, 1), **alone)
            for some in np.reshape(values, (10, 4))
        ]
        n_covering = sum(trial.low <= 0 <= trial.high for trial in trials)
        assert n_covering >= 8  # at 95 % fewer have a probability of 1.2 %


def test_the_artifact_is_read_back_and_the_same_twice(films, tmp_path):
    model = {"s0": _wrap(ReadsStripes())}
    first = _transfer(films, tmp_path / "first", model)
    _transfer(films, tmp_path / "second", model)

    assert load_transfer(tmp_path / "first") == first
    for name in ("transfer.json", "effects.csv", "layings.csv"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert find_damage(tmp_path / "first", kind="marker-transfer") == []
    facts = read_manifest(tmp_path / "first", kind="marker-transfer")["facts"]
    assert (facts["n_ok"], facts["n_total"]) == (24, 24)
    rows = (tmp_path / "first" / "layings.csv").read_text().splitlines()
    assert len(rows) == 1 + first.n_layings
    lines = list(describe_transfer(first))
    assert lines[0].startswith("markers of, on films of other sources")
    assert any(line.startswith("a COVID-19 (12 patients)") for line in lines)


def test_a_film_that_cannot_be_used_is_named_and_the_others_go_on(films, tmp_path):
    filmset, regions = films
    first, second, *_ = filmset.select("test")
    broken = {
        **regions,
        first.image_id: FilmRegions(first.image_id, 50, 50, (_region(),)),
        second.image_id: FilmRegions(second.image_id, 0, 0, (), error="too large"),
    }

    result = _transfer(films, tmp_path / "out", {"s0": _wrap(ReadsStripes())}, regions=broken)

    assert set(result.failed) == {first.image_id, second.image_id}
    assert result.failed[second.image_id] == "text scan: too large"
    assert result.n_marked == 22


def test_the_number_of_model_evaluations_is_said_before_they_start(films, tmp_path):
    said: list[str] = []

    class Listener:
        def say(self, text: str) -> None:
            said.append(text)

        warn = say

        def finding(self, severity: str, text: str) -> None: ...

        def progress(self, title: str):
            from contextlib import nullcontext

            return nullcontext(lambda done, total: said.append(title))

    filmset, regions = films
    subject = TransferSubject(
        {"s0": _wrap(ReadsStripes())}, filmset, filmset.select("test"), regions, PARAMS, 0
    )
    out = tmp_path / "out"
    result = transfer_markers(subject, out, Means(Listener(), tmp_path, 1), _request(out))

    # 24 films get 3 markers of each of 2 groups: 144 laid, 144 shuffled, 24 as they are, 24 free.
    assert result.n_evaluations == 2 * (144 + 24)
    assert "336 model evaluations" in said[said.index("recipients") - 1]


def test_models_of_other_views_are_refused(films, tmp_path):
    other = replace(_wrap(ReadsStripes()), view=ViewSpec(SIDE, 0.1))

    with pytest.raises(InputContractError, match=r"1 and 2 see other views .* 0 and 0\.1 of"):
        _transfer(films, tmp_path / "out", {"s0": _wrap(ReadsStripes()), "s1": other})


def test_no_model_is_refused(films, tmp_path):
    with pytest.raises(InputContractError, match="no checkpoint"):
        _transfer(films, tmp_path / "out", {})


def test_films_without_text_or_of_one_source_show_nothing(films, tmp_path):
    filmset, regions = films
    no_text = {name: replace(found, regions=()) for name, found in regions.items()}
    one_source = [film for film in filmset.select("test") if film.source == "a"]
    models = {"s0": _wrap(ReadsStripes())}

    without = _transfer(films, tmp_path / "without", models, regions=no_text)
    alone = _transfer(films, tmp_path / "alone", models, films=one_source)

    assert (without.n_marked, without.effects) == (0, ())
    assert alone.n_layings == 36
    assert conclude_transfer(without).startswith("no film has text")
    assert conclude_transfer(alone).startswith("all films with text are of one source")
    assert list(describe_transfer(without)) == [conclude_transfer(without)]
    for result in (without, alone):
        assert list(describe_transfer(result))[-1] == conclude_transfer(result)


def test_a_foreign_artifact_is_refused(tmp_path):
    with write_artifact(tmp_path / "other", kind="audit"):
        pass

    with pytest.raises(ArtifactError, match="marker-transfer"):
        load_transfer(tmp_path / "other")


def _layings(n_patients: int, n_seeds: int, seed: int) -> Layings:
    """Answers without any effect, but with patients and seeds that differ."""
    generator = np.random.default_rng(seed)
    films = [
        make_film(i, source="ab"[i % 2], patient_id=f"p{i}", label="normal")
        for i in range(2 * n_patients)
    ]
    takers, givers = np.array(draw_layings(tuple(films), 4, seed), dtype=np.int64).T
    n = len(films)
    of_donor = generator.normal(size=(n, n_seeds))
    of_seed = generator.normal(size=n_seeds)
    gain = of_donor[givers] + of_seed + generator.normal(size=(len(takers), n_seeds))
    base = np.repeat(generator.normal(size=(n, n_seeds, 1)), 2, axis=2)
    marker = base[takers] + np.stack([gain, -gain], axis=2)
    return Layings(tuple(films), ("L",) * n, takers, givers, base, base, marker, base[takers])


def test_intervals_over_patients_and_seeds_cover_nothing_at_the_stated_rate():
    n_covering = []
    for seed in range(30):
        effects = compute_effects(_layings(12, 3, seed), CLASS_NAMES, seed=seed, n_resamples=200)
        (effect,) = (
            e
            for e in effects
            if (e.donor_source, e.recipient_source, e.marker) == ("a", OTHER, ANY)
            and (e.measure, e.class_name) == ("reading", "COVID-19")
        )
        n_covering.append(effect.low <= 0 <= effect.high)

    # At 95 % fewer than 24 of 30 have a probability of 0.06 %.
    assert sum(n_covering) >= 24


def test_an_interval_is_over_patients_and_not_over_layings():
    films = _layings(12, 1, 0).films
    takers, givers = np.array(draw_layings(films, 12, 0), dtype=np.int64).T
    of_donor = np.random.default_rng(1).normal(size=24)
    gain = of_donor[givers][:, None, None] * np.array([[[1.0, -1.0]]])
    nothing = np.zeros((24, 1, 2))
    layings = Layings(films, ("L",) * 24, takers, givers, nothing, nothing, gain, 0 * gain)

    (effect,) = (
        e
        for e in compute_effects(layings, CLASS_NAMES, seed=0)
        if (e.donor_source, e.recipient_source, e.marker) == ("a", OTHER, ANY)
        and (e.measure, e.class_name) == ("reading", "normal")
    )

    # 12 patients of a give to each of 12 of b: their standard error, not that of 144 layings.
    expected = 2 * 2.201 * of_donor[::2].std(ddof=1) / math.sqrt(12)  # Student's t, 11 degrees
    assert effect.value == pytest.approx(of_donor[::2].mean())
    assert effect.high - effect.low == pytest.approx(expected, rel=0.15)


def test_how_sure_a_model_is_of_a_film_without_markers_neither_moves_nor_widens_an_effect():
    layings = _layings(12, 2, 0)
    films = np.random.default_rng(1).normal(scale=10.0, size=layings.text_free.shape)
    surer = replace(
        layings,
        text_free=layings.text_free + films,
        marker=layings.marker + films[layings.recipients],
        shuffled=layings.shuffled + films[layings.recipients],
    )

    found, expected = (
        [
            (effect.value, effect.low, effect.high)
            for effect in compute_effects(answers, CLASS_NAMES, seed=0, n_resamples=50)
            if effect.class_name != ANY
        ]
        for answers in (surer, layings)
    )

    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("n_of_c", [1, 2])
def test_recipients_count_alike_on_both_sides_of_a_site(n_of_c):
    films = tuple(
        make_film(i, source=source, patient_id=f"p{i}", label="normal")
        for i, source in enumerate("a" * 12 + "b" * 12 + "c" * n_of_c)
    )
    takers, givers = np.array(draw_layings(films, 4, 0), dtype=np.int64).T
    # Only recipients of c, which have one donor of their own group or none, answer to any marker.
    gain = np.where(takers >= 24, 1.0, 0.0)[:, None, None] * np.array([[[1.0, -1.0]]])
    nothing = np.zeros((len(films), 1, 2))
    layings = Layings(
        films, ("L",) * len(films), takers, givers, nothing, nothing, gain, np.zeros_like(gain)
    )

    effects = compute_effects(layings, CLASS_NAMES, seed=0, n_resamples=20)

    sites = [e.value for e in effects if e.measure == "site"]
    assert sites
    np.testing.assert_allclose(sites, 0.0, atol=1e-12)


def test_too_few_patients_give_a_value_without_interval():
    layings = _layings(MIN_PATIENTS - 1, 2, 0)
    effects = [e for e in compute_effects(layings, CLASS_NAMES, seed=0) if e.donor_source != ANY]

    assert effects
    assert all(math.isnan(effect.low) and not math.isnan(effect.value) for effect in effects)
    assert {effect.reason for effect in effects} == {
        "fewer than 10 patients on one side: no interval"
    }


def test_a_request_names_the_order_of_its_checkpoints(tmp_path):
    first = TransferRequest((Path("x"), Path("y")), tmp_path, tmp_path)
    second = TransferRequest((Path("y"), Path("x")), tmp_path, tmp_path)

    assert first.key() != second.key()
    assert first.inputs()["checkpoint/1"] == "y"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_draws": 0}, "n_draws is 0"),
        ({"dilation_px": -1}, "dilation_px is -1"),
        ({"radius_px": 0.0}, "radius_px is 0.0"),
    ],
)
def test_impossible_parameters_are_refused(changes, message):
    with pytest.raises(InputContractError, match=message):
        TransferParams(**changes)
