"""Which text tells the class: closed-form cases."""

import itertools
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from covid_debug.audit.groups import Prediction, group_predictions, read_kinds
from covid_debug.audit.inputs import NOT_ASKED, choose_kinds
from covid_debug.audit.nulls import draw_matched_patches
from covid_debug.audit.planning import AuditParams
from covid_debug.audit.telling import measure_bits, tell_by_text
from covid_debug.errors import InputContractError
from covid_debug.imaging.geometry import ViewSpec, compute_geometry
from covid_debug.records import Film, FilmRegions, TextRegion
from tests.films import UNREAD

BOX = ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0), (0.0, 9.0))


def film(key: str, label: str, source: str = "one") -> Film:
    return Film(key, f"{key}.png", key, label, source, "", "train", 100, 100, *UNREAD)


def text(content: str | None, kind: str) -> TextRegion:
    return TextRegion(BOX, 0.9, content, "test", kind)


def found(key: str, *regions: TextRegion) -> FilmRegions:
    return FilmRegions(key, 100, 100, regions)


def test_text_on_all_films_of_one_class_tells_it():
    films = [film(f"{label}{i}", label) for label in ("a", "b") for i in range(50)]
    portable = text(" Portable ", "position")
    regions = {f.image_id: found(f.image_id, *[portable] * (f.label == "a")) for f in films}

    kind, content = tell_by_text(films, regions)

    assert (kind.what, kind.name, kind.n_films) == ("kind", "position", 50)
    assert (content.what, content.name) == ("content", "PORTABLE")
    assert kind.by_class["a"].value == 1.0
    assert kind.by_class["b"].value == 0.0
    assert kind.by_class["b"].high == pytest.approx(0.0713, abs=1e-3)  # Wilson, 0 of 50
    assert (kind.auc, kind.told_class) == (1.0, "a")
    assert kind.bits == pytest.approx(1 - 1 / (200 * math.log(2)), abs=2e-4)  # Miller (1955)


@pytest.mark.parametrize(("with_a", "with_b"), [(2, 16), (16, 2), (1, 8), (17, 4), (3, 4)])
def test_text_tells_that_of_two_classes_which_carries_it_more(with_a, with_b):
    shares = {"a": with_a, "b": with_b}
    films = [film(f"{label}{i}", label) for label in shares for i in range(24)]
    regions = {
        f.image_id: found(f.image_id, *[text(None, "position")] * (int(f.path[1:-4]) < share))
        for f in films
        for share in (shares[f.label],)
    }

    (kind,) = tell_by_text(films, regions)

    assert kind.told_class == max(shares, key=lambda label: shares[label])
    assert kind.auc == pytest.approx(0.5 + abs(with_a - with_b) / 48)


def test_text_that_comes_with_the_source_says_nothing_within_it():
    films = [
        film(f"{s}{i}", "a" if i < n else "b", s)
        for s, n in (("x", 40), ("y", 10))
        for i in range(50)
    ]
    regions = {
        f.image_id: found(f.image_id, *[text("R", "side_marker")] * (f.source == "x"))
        for f in films
    }

    (kind, _) = tell_by_text(films, regions)

    assert kind.by_source["x"].value == 1.0
    assert kind.bits == pytest.approx(0.278 - 1 / (200 * math.log(2)), abs=1e-3)
    assert kind.bits_in_source == 0.0
    assert kind.auc == pytest.approx(0.8)  # 40 of 50 and 10 of 50: (1 + .8 - .2) / 2


def test_text_that_nobody_could_look_for_and_rare_contents_are_left_out():
    films = [film(str(i), "ab"[i % 2]) for i in range(10)]
    regions = {f.image_id: found(f.image_id, text("L", "side_marker")) for f in films[:4]}
    regions["9"] = replace(found("9"), error="broken")

    (kind,) = tell_by_text(films, regions)

    assert (kind.what, kind.n_films) == ("kind", 4)
    assert sum(share.n for share in kind.by_class.values()) == 4


def test_one_class_has_no_auc():
    films = [film(str(i), "a") for i in range(3)]
    (kind,) = tell_by_text(films, {"0": found("0", text(None, "unknown")), "1": found("1")})

    assert math.isnan(kind.auc)
    assert kind.bits == 0.0


def test_measure_bits_of_independent_text_is_about_zero():
    generator = np.random.default_rng(0)
    labels = ["abc"[k] for k in generator.integers(0, 3, 2000)]

    assert measure_bits(labels, list(generator.random(2000) < 0.3)) < 0.002
    assert measure_bits(["a", "b"], [True, True]) == 0.0


def test_measure_bits_takes_off_the_mean_over_all_ways_of_dealing_the_text():
    labels, presence = list("aaabbc"), (True, True, True, False, False, False)
    plain = []
    for carries in itertools.permutations(presence):
        shares = Counter(zip(labels, carries, strict=True))
        chances = {key: labels.count(key[0]) / 12 for key in shares}  # half of the films carry it
        plain.append(sum(n / 6 * math.log2(n / 6 / chances[key]) for key, n in shares.items()))

    told = measure_bits(labels, presence)

    assert told == pytest.approx(1.0 - np.mean(plain))


def test_chance_adds_no_bits_within_many_small_sources():
    generator = np.random.default_rng(0)
    bits = []
    for _ in range(40):
        films = [
            film(str(i), "abc"[k], f"s{i % 20}")
            for i, k in enumerate(generator.integers(0, 3, 200))
        ]
        regions = {
            f.image_id: found(f.image_id, *[text(None, "date")] * int(generator.random() < 0.3))
            for f in films
        }
        (row,) = tell_by_text(films, regions)
        bits.append(row.bits_in_source)

    assert np.mean(bits) < 0.02  # 0.08 where each source's chance is cut off at 0


# ------------------------------------------------------------------------------ the audit by kind


def test_predictions_are_counted_by_kind_of_text():
    def predict(kinds, verdict):
        return Prediction("a", "one", "p", verdict == "text_driven", verdict, kinds=kinds)

    groups = group_predictions(
        [
            predict(("side_marker",), "text_driven"),
            predict(("side_marker", "date"), "not_text_driven"),
            predict(("unknown",), "text_driven"),
        ]
    )

    assert {kind: row.n_driven for kind, row in groups.by_kind.items()} == {
        "side_marker": 1,
        "date": 0,
        "unknown": 1,
    }
    assert groups.by_kind["side_marker"].n_audited == 2


def test_unread_text_gets_no_rows_by_kind():
    one = Prediction("a", "one", "p", False, "text_driven", kinds=("unknown",))

    assert group_predictions([one]).by_kind == {}


def test_read_kinds_names_each_once_in_order():
    regions = [text("1", "date"), text("R", "side_marker"), text("2", "date")]

    assert read_kinds(regions) == ("side_marker", "date")


def test_choose_kinds_puts_the_others_under_rejected():
    arrow, letter = text(None, "annotation"), text("R", "side_marker")

    chosen = choose_kinds({"a": found("a", arrow, letter)}, ("side_marker",))

    assert chosen["a"].regions == (letter,)
    assert chosen["a"].rejected == ((arrow, NOT_ASKED),)


def test_audit_leaves_annotations_out_unless_asked():
    assert "annotation" not in AuditParams().kinds
    assert AuditParams(kinds=("annotation",)).kinds == ("annotation",)
    for wrong in ((), ("letter",)):
        with pytest.raises(InputContractError, match=r"kinds are .*expected some of side_marker"):
            AuditParams(kinds=wrong)


def test_no_null_lies_on_text_that_stays():
    geometry = compute_geometry(100, 100, ViewSpec(image_size=64))
    mask, closed = np.zeros((2, 100, 100), np.bool_)
    mask[20:26, 20:30] = True
    closed[40:, :] = True

    made = draw_matched_patches(mask, geometry, n_nulls=20, gap_px=0, seed=0, closed=closed)

    assert made.patches
    assert all(piece.top + piece.high <= 40 for patch in made.patches for piece in patch)
