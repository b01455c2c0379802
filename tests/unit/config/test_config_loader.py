"""Configuration files: every problem in one message."""

import math
from pathlib import Path

import pytest

from covid_debug.config.loader import build_config, load_config
from covid_debug.config.schema import CovidxData, PhantomData
from covid_debug.errors import ConfigError

CONFIGS = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))
MINIMAL = {"name": "t", "data": {"kind": "phantom", "n_train": 4, "n_test": 2}}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_configuration_is_valid(path: Path) -> None:
    assert load_config(path).name == path.stem


def test_minimal_configuration_takes_the_defaults() -> None:
    config = build_config(MINIMAL, where="here")

    assert isinstance(config.data, PhantomData)
    assert config.arms == ("original", "cleaned")
    assert config.tests == ("cleaned", "swapped")
    assert config.made_versions == ("cleaned",)
    assert config.audited == (("original", 0), ("cleaned", 0))
    assert not config.leave_out_sources


def test_versions_and_audits_follow_the_arms_and_seeds() -> None:
    arms = ["original", "random_text", "lung_crop", "decoys"]
    config = build_config(
        MINIMAL | {"arms": arms, "seeds": [3, 1], "audited_seeds": 1}, where="here"
    )

    assert config.made_versions == ("cleaned", "decoys", "lung_crop")
    assert config.audited == tuple((arm, 3) for arm in arms)


def test_unknown_keys_are_reported_together_with_suggestions() -> None:
    tree = MINIMAL | {"seedz": [0], "training": {"n_epoch": 3}}

    with pytest.raises(ConfigError) as caught:
        build_config(tree, where="a.yaml")
    message = str(caught.value)
    assert message.startswith("a.yaml: seedz is not a field of RunConfig; did you mean 'seeds'?")
    assert "training.n_epoch is not a field of TrainingParams; did you mean 'n_epochs'?" in message


def test_unknown_key_in_a_data_section_names_the_chosen_kind() -> None:
    tree = MINIMAL | {"data": {"kind": "covidx", "folder": "d", "train_lst": "x"}}

    with pytest.raises(ConfigError, match=r"data\.train_lst is not a field of CovidxData"):
        build_config(tree, where="a.yaml")


def test_covidx_data_section_is_read() -> None:
    data = {"kind": "covidx", "folder": "d", "train_list": "a", "test_list": "b"}

    assert isinstance(build_config(MINIMAL | {"data": data}, where="x").data, CovidxData)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [0, 0]}, r"seeds = \[0, 0\]: expected at least one, all different"),
        ({"seeds": [0, -1]}, "seeds.1 = -1: input should be greater than or equal to 0"),
        ({"data": {"kind": "phantom", "n_train": 9, "n_test": 9, "seed": -1}}, "seed = -1: input"),
        ({"training": {"class_weights": {"c": math.nan}}}, "training.class_weights.c is nan"),
        ({"audit": {"igos": {"x": [1, math.inf]}}}, "audit.igos.x.1 is inf; expected a finite"),
        ({"arms": ["cleaned"]}, "expected 'original'"),
        (
            {"arms": ["original", "washed"]},
            r"'washed'\]: expected 'original' and any of cleaned, placebo",
        ),
        (
            {"tests": ["cleaned", "washed"]},
            r"tests = \['cleaned', 'washed'\]: expected any of cleaned, placebo, decoys, swapped",
        ),
        ({"tests": ["original"]}, "the original films are always tested on"),
        ({"questions": ["why"]}, r"questions = \['why'\]: expected any of dependence, text_free"),
        ({"questions": ["dependence"] * 2}, "expected any of dependence, .*, once"),
        (
            {"external": {"swapped": "x"}},
            "external.swapped: expected a name .* other than original",
        ),
        ({"external": {"a b": "x"}}, "external.a b: expected a name of letters"),
        ({"audited_seeds": 0}, "audited_seeds = 0"),
        (
            {
                "arms": ["original", "cleaned", "lung_crop"],
                "training": {"mitigation": {"random_text": 0.5}},
            },
            "training.mitigation: random_text and .* in the films of lung_crop; leave",
        ),
        (
            {
                "arms": ["original", "right_reasons"],
                "cleaning": {"decoy_sets": 3, "mask_shape": "box"},
            },
            "arms: right_reasons take what the cleaned films lack for text",
        ),
        (
            {"arms": ["original", "random_text"], "cleaning": {"uniform_marker": True}},
            "arms: random_text take what the cleaned films lack",
        ),
        ({"data": {"kind": "phantom", "n_train": 0, "n_test": 2}}, "n_train = 0"),
        ({"data": {"kind": "other"}}, "data"),
        ({"view": {"image_size": "big"}}, "view.image_size = 'big'"),
        ({"view": {"image_size": 10**9}}, r"image_size is 1000000000; expected in \[8, 4096\]"),
        ({"name": "../../evil"}, r"name = '\.\./\.\./evil': expected letters, digits"),
        ({"name": ".."}, r"name = '\.\.': expected"),
        ({"name": "a\n"}, "name = 'a.n': expected"),
        ({"name": "x" * 101}, "name = 'xxx"),
    ],
)
def test_wrong_values_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_config(MINIMAL | change, where="a.yaml")


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("name: t\ndata: {kind: phantom, n_train: 4, n_test: 2}\n")

    config = load_config(path, ["data.n_train=9", "seeds=[3, 4]", "training.n_epochs=2"])

    assert isinstance(config.data, PhantomData)
    assert config.data.n_train == 9
    assert config.seeds == (3, 4)
    assert config.training.n_epochs == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("proof.max_films=-1", "max_films is -1; expected 0"),
        ("proof.max_film=9", "did you mean 'max_films'"),
        ("n_epochs", "expected KEY=VALUE"),
        ("name.first=1", "name is a value, not a section"),
        ("seeds=[1", "its value: is not valid YAML"),
        ("training={n_epochs: 1, n_epochs: 2}", "the key 'n_epochs' stands there again"),
        ("trainin.n_epochs=1", "did you mean 'training'"),
    ],
)
def test_bad_overrides_are_named(tmp_path: Path, override: str, message: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("name: t\ndata: {kind: phantom, n_train: 4, n_test: 2}\n")

    with pytest.raises(ConfigError, match=message):
        load_config(path, [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not valid YAML"),
        ("- 1", "expected a mapping of sections, found list"),
        ("name: a\nseeds: [0]\nname: b\n", r"t\.yaml:3: the key 'name' stands there again, first"),
        ("name: a\ntraining:\n  n_epochs: 1\n  n_epochs: 2\n", r"t\.yaml:4: the key 'n_epochs'"),
    ],
)
def test_files_that_are_no_configuration_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=message):
        load_config(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml: cannot be read"):
        load_config(tmp_path / "nothing.yaml")
