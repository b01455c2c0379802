"""An audit in shards ends with the bytes of one process, whatever their number, order and fate."""

from collections import Counter
from dataclasses import replace

import pytest

from covid_debug.audit import auditor
from covid_debug.audit.pipeline import audit_filmset
from covid_debug.audit.planning import AuditParams
from covid_debug.errors import ArtifactError, DataIntegrityError, InputContractError
from covid_debug.shards import Shard, ShardFinished
from covid_debug.stages import Means

PARAMS = AuditParams(
    grid_size=8,
    radius_px=3.0,
    dilation_px=1,
    max_explained=5,
    control_share=0.6,
    igos={"n_iterations": 2},
)


def _audit(world, out, *, params=PARAMS, **means):
    return audit_filmset(world.subject(params, 3), out, Means(cache_dir=world.cache, **means))


def _read(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def undisturbed(world, tmp_path, monkeypatch):
    for module in ("pipeline", "auditor"):
        monkeypatch.setattr(f"covid_debug.audit.{module}.GROUP", 2)
    _audit(world, tmp_path / "alone" / "audit")
    files = _read(tmp_path / "alone" / "audit")
    assert len([name for name in files if name.startswith("maps")]) == 2 * 5
    return files


@pytest.fixture
def work(undisturbed, monkeypatch):
    """Counts what is done for each film."""
    done = Counter()
    predict, make, explain = (
        getattr(auditor.Auditor, name) for name in ("_predict_film", "_make_views", "explain")
    )

    def count(what, name):
        done[what, name] += 1

    monkeypatch.setattr(
        auditor.Auditor,
        "_predict_film",
        lambda self, film: count("predict", film.image_id) or predict(self, film),
    )
    monkeypatch.setattr(
        auditor.Auditor,
        "_make_views",
        lambda self, case: count("intervene", case.film.image_id) or make(self, case),
    )
    monkeypatch.setattr(
        auditor.Auditor,
        "explain",
        lambda self, group, method: (
            [count(method, case.film.image_id) for case in group] and explain(self, group, method)
        ),
    )
    return done


def _start_all(world, out, n, *, backwards=False):
    order = range(n, 0, -1) if backwards else range(1, n + 1)
    ends = []
    for index in order:
        with pytest.raises(ShardFinished) as finished:
            _audit(world, out, shard=Shard(index, n), n_workers=1)
        ends.append(finished.value)
    return ends


@pytest.mark.parametrize(("n", "backwards"), [(1, False), (2, True), (3, False), (20, True)])
def test_any_shards_write_the_bytes_of_one_process_and_do_nothing_twice(
    world, tmp_path, undisturbed, work, n, backwards
):
    out = tmp_path / "shards" / "audit"
    n_starts = 0
    while True:
        ends = _start_all(world, out, n, backwards=backwards)
        n_starts += 1
        if ends[-1].is_last and ends[-1].n_done == ends[-1].n_total:
            break
    assert n_starts <= 3
    before = Counter(work)

    _audit(world, out)

    assert _read(out) == undisturbed
    assert work == before  # the merge only puts together
    assert set(work.values()) == {1}
    assert Counter(what for what, _ in work) == {
        "predict": 7,
        "intervene": 5,
        "igos_pp": 5,
        "path_gradient": 5,
    }
    assert list(out.parent.iterdir()) == [out]


def test_shards_of_one_part_leave_the_others_to_the_merge(world, tmp_path, undisturbed, work):
    out = tmp_path / "shards" / "audit"
    first = _start_all(world, out, 3)

    assert [(end.n_done, end.n_total, end.is_last) for end in first[:2]] == [
        (2, 7, False),
        (4, 7, False),
    ]
    assert "of 5 interventions of all shards are finished" in str(first[2])  # it went on
    _audit(world, out)

    assert _read(out) == undisturbed
    assert {count for (what, _), count in work.items() if what != "intervene"} == {1}


def test_a_killed_shard_goes_on_from_its_last_film(world, tmp_path, undisturbed, work, monkeypatch):
    out = tmp_path / "shards" / "audit"
    _start_all(world, out, 2)
    make = auditor.Auditor._make_views

    def die(self, case):
        if sum(what == "intervene" for what, _ in work) == 4:
            raise KeyboardInterrupt
        return make(self, case)

    with monkeypatch.context() as patch:
        patch.setattr(auditor.Auditor, "_make_views", die)
        with pytest.raises(KeyboardInterrupt):
            _start_all(world, out, 2)
    _start_all(world, out, 2)
    _audit(world, out)

    assert _read(out) == undisturbed
    assert set(work.values()) == {1}


def test_what_failed_on_a_film_is_tried_again_by_the_next_start(
    world, tmp_path, undisturbed, work, monkeypatch
):
    out = tmp_path / "shards" / "audit"

    def fail(self, case):
        raise DataIntegrityError(f"{case.film.path}: the share was away")

    with monkeypatch.context() as patch:
        patch.setattr(auditor.Auditor, "_make_views", fail)
        for _ in range(3):
            ends = _start_all(world, out, 2)
    assert (ends[-1].n_done, ends[-1].n_total) == (0, 0)  # no film that could be explained

    _audit(world, out)

    assert _read(out) == undisturbed
    assert {count for (what, _), count in work.items() if what == "predict"} == {1}


def test_films_that_no_worker_survives_have_that_reason_and_are_not_tried_here(
    world, tmp_path, work
):
    def elsewhere(names, records):
        return dict.fromkeys([name for name in names if "sign0" in name], "died twice")

    result = _audit(world, tmp_path / "audit", elsewhere=elsewhere)

    assert ("predict", "sign0") not in work
    assert result.summary.n_unreadable == 1
    assert ("predict", "sign1") in work


def test_an_intervention_that_kills_its_worker_is_an_error_of_its_film(world, tmp_path, work):
    def elsewhere(names, records):
        return {"sign0": "died twice"} if len(names) == 5 else {}

    params = replace(PARAMS, max_explained=0)
    result = _audit(world, tmp_path / "audit", params=params, elsewhere=elsewhere)

    (broken,) = [film for film in result.films if film.error is not None]
    assert (broken.image_id, broken.error) == ("sign0", "no worker survived it: died twice")
    assert ("intervene", "sign0") not in work


def test_without_a_map_to_make_interventions_are_the_last_part(world, tmp_path):
    params = replace(PARAMS, max_explained=0)

    with pytest.raises(ShardFinished) as finished:
        _audit(world, tmp_path / "audit", params=params, shard=Shard(1, 1))

    assert finished.value.is_last
    assert "5 of 5 interventions" in str(finished.value)


def test_a_shard_where_the_audit_stands_is_refused_before_any_film(world, tmp_path, work):
    _audit(world, tmp_path / "audit")
    work.clear()

    with pytest.raises(ArtifactError, match="already exists"):
        _audit(world, tmp_path / "audit", shard=Shard(1, 2))
    with pytest.raises(InputContractError, match="shard 3/2 does not exist"):
        Shard(3, 2)

    assert not work
