"""CRAFT: the real network with made weights, and every way in which weights can be wrong."""

import hashlib

import numpy as np
import pytest
import torch
import torchvision.models.vgg as torchvision_vgg

from covid_debug.errors import CheckpointError, InputContractError
from covid_debug.text import craft
from covid_debug.text.craft import CraftDetector, CraftParams, locate_weights, weights_path


@pytest.fixture(scope="session")
def params(craft_weights):
    return {"weights": str(craft_weights), "weights_md5": "", "long_size": 256}


def white_box_film(x0=100, y0=60, x1=140, y1=80):
    film = np.zeros((200, 256), np.uint8)
    film[y0:y1, x0:x1] = 255
    return film


def test_network_has_the_published_size(craft_weights):
    network = craft.load_network(craft_weights)

    assert sum(p.numel() for p in network.parameters()) == 20_770_466
    assert not network.training


def test_bright_box_is_found_in_film_pixels(params):
    (region,) = CraftDetector(CraftParams(**params)).detect([white_box_film()])[0]

    # The map has half the film's resolution: 20 x 10 px, grown by sqrt(10) map pixels.
    growth = 2 * np.sqrt(10)
    assert region.box == pytest.approx(
        (100 - growth, 60 - growth, 140 + growth, 80 + growth), abs=0.1
    )
    assert region.confidence == pytest.approx(0.9, abs=1e-3)
    assert region.detector == "craft"


def test_long_size_caps_the_work_and_keeps_film_pixels(params, monkeypatch):
    seen = []
    detector = CraftDetector(CraftParams(**{**params, "long_size": 128, "min_edge": 0}))
    detector.prepare()
    detector._network.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))

    (region,) = detector.detect([np.kron(white_box_film(), np.ones((4, 4), np.uint8))])[0]

    assert seen == [(1, 3, 128, 128)]
    x0, y0, x1, y1 = region.box
    assert (x0 + x1) / 2 == pytest.approx(480, abs=8)
    assert (y0 + y1) / 2 == pytest.approx(280, abs=8)


def test_second_scale_finds_the_smaller_glyph(params):
    film = white_box_film(100, 60, 104, 64)[:128, :128]
    one = CraftDetector(CraftParams(**params, magnification=1.0))
    two = CraftDetector(CraftParams(**params, magnification=1.0, scales=(1.0, 2.0)))

    assert one.detect([film]) == [[]]
    assert len(two.detect([film])[0]) == 1


def test_shim_leaves_torchvision_as_it_was(craft_weights):
    craft.load_network(craft_weights)

    assert not hasattr(torchvision_vgg, "model_urls")


def test_missing_weights_are_named_with_the_remedies(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.pth: CRAFT's weights are not there.*2f8227d"):
        CraftDetector(CraftParams(weights=str(tmp_path / "none.pth")))


def test_weights_are_looked_for_in_the_named_variable(monkeypatch, tmp_path):
    monkeypatch.setenv(craft.WEIGHTS_VARIABLE, str(tmp_path / "mine.pth"))

    assert weights_path() == tmp_path / "mine.pth"
    assert weights_path("other.pth").name == "other.pth"


def test_other_weights_are_refused_by_their_fingerprint(craft_weights):
    with pytest.raises(CheckpointError, match=r"MD5 is [0-9a-f]{32}; expected 2f8227d2"):
        CraftDetector(CraftParams(weights=str(craft_weights)))


def test_foreign_file_is_refused(tmp_path):
    path = tmp_path / "foreign.pth"
    torch.save({"weight": torch.zeros(3)}, path)

    with pytest.raises(CheckpointError, match="does not hold CRAFT's weights"):
        CraftDetector(CraftParams(weights=str(path), weights_md5="")).prepare()


def test_text_file_is_refused(tmp_path):
    path = tmp_path / "text.pth"
    path.write_text("not weights")

    with pytest.raises(CheckpointError, match="does not hold CRAFT's weights"):
        CraftDetector(CraftParams(weights=str(path), weights_md5="")).prepare()


def test_download_is_verified_and_kept(tmp_path):
    source, target = tmp_path / "source.bin", tmp_path / "cache" / "weights.pth"
    source.write_bytes(b"the weights")
    md5 = hashlib.md5(b"the weights", usedforsecurity=False).hexdigest()
    params = CraftParams(
        weights=str(target), weights_md5=md5, download=True, weights_url=source.as_uri()
    )

    assert locate_weights(params) == target
    assert target.read_bytes() == b"the weights"
    assert [p.name for p in target.parent.iterdir()] == ["weights.pth"]


def test_download_of_something_else_is_thrown_away(tmp_path):
    source, target = tmp_path / "source.bin", tmp_path / "weights.pth"
    source.write_bytes(b"a login page")
    params = CraftParams(weights=str(target), download=True, weights_url=source.as_uri())

    with pytest.raises(CheckpointError, match=r"has MD5 .*; expected 2f8227d2.*by hand"):
        locate_weights(params)
    assert not target.exists()


def test_download_without_network_says_what_to_do(tmp_path):
    params = CraftParams(
        weights=str(tmp_path / "w.pth"),
        download=True,
        weights_url=(tmp_path / "absent").as_uri(),
    )

    with pytest.raises(CheckpointError, match=r"cannot be fetched .*without network.*rapidocr"):
        locate_weights(params)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"text_threshold": 0.0}, "text_threshold is 0.0"),
        ({"long_size": 16}, "long_size is 16; expected 32 or more"),
        ({"scales": ()}, r"scales are \(\)"),
        ({"scales": (1.0, -1.0)}, "positive factors"),
    ],
)
def test_parameter_out_of_range_is_refused(params, message):
    with pytest.raises(InputContractError, match=message):
        CraftParams(**params)
