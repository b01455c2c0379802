"""RapidOCR's detector: offline, quiet, in film pixels."""

import logging
import socket

import numpy as np
import pytest

from covid_debug.errors import InputContractError
from covid_debug.text.rapidocr import RapidOcrDetector, RapidOcrParams


def test_word_is_covered_where_it_stands(word_film):
    (region,) = RapidOcrDetector().detect([word_film])[0]

    x0, y0, x1, y1 = region.box
    rows, columns = np.nonzero(word_film == 255)
    assert abs(x0 - columns.min()) < 8
    assert abs(x1 - columns.max()) < 8
    assert abs(y0 - rows.min()) < 10
    assert abs(y1 - rows.max()) < 10
    assert region.detector == "rapidocr"
    assert region.content is None


def test_scale_of_the_working_film_does_not_move_the_region(word_film):
    boxes = [
        RapidOcrDetector(RapidOcrParams(max_side=side)).detect([word_film])[0][0].box
        for side in (480, 800)
    ]

    np.testing.assert_allclose(boxes[0], boxes[1], atol=10)


def test_content_is_read_when_asked(word_film):
    (region,) = RapidOcrDetector(RapidOcrParams(read_content=True)).detect([word_film])[0]

    assert region.content == "PORTABLE"


def test_detection_says_nothing_and_calls_nobody(word_film, monkeypatch, capfd):
    def refuse(*args, **kwargs):
        raise AssertionError("network used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    root_level = logging.getLogger().level

    RapidOcrDetector().detect([word_film, np.zeros((40, 40), np.uint8)])

    assert capfd.readouterr() == ("", "")
    assert logging.getLogger().level == root_level


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"max_side": 8}, "max_side is 8; expected 32 or more"),
        ({"max_enlargement": 0.5}, "max_enlargement is 0.5"),
        ({"box_threshold": 0.0}, r"box_threshold is 0.0; expected in \(0, 1\]"),
        ({"max_area_share": 1.5}, "max_area_share is 1.5"),
        ({"n_threads": 0}, "n_threads is 0"),
    ],
)
def test_parameter_out_of_range_is_refused(params, message):
    with pytest.raises(InputContractError, match=message):
        RapidOcrParams(**params)
