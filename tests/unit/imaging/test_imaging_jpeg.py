import cv2
import numpy as np
import pytest
from PIL import Image

from covid_debug.imaging.jpeg import grow_to_blocks, read_quantisation, requantise

TABLE = tuple(8 + at // 8 + at % 8 for at in range(64))


def make_jpeg(path, **options):
    noise = np.random.default_rng(0).normal(100, 20, (50, 70))
    film = np.clip(cv2.GaussianBlur(noise, (0, 0), 1.0), 0, 255).astype(np.uint8)
    Image.fromarray(film).save(path, "JPEG", qtables=[list(TABLE)], **options)
    return np.asarray(Image.open(path))


def test_read_table_returns_what_the_file_was_written_with(tmp_path):
    make_jpeg(tmp_path / "a.jpg")

    assert read_quantisation(tmp_path / "a.jpg") == TABLE


def test_read_table_of_what_has_none_is_none(tmp_path):
    film = make_jpeg(tmp_path / "a.jpg")
    Image.fromarray(film).save(tmp_path / "a.png")
    (tmp_path / "text").write_text("no picture")
    exif = Image.Exif()
    exif[0x0112] = 6
    make_jpeg(tmp_path / "turned.jpg", exif=exif)

    for name in ("a.png", "text", "missing.jpg", "turned.jpg"):
        assert read_quantisation(tmp_path / name) is None


@pytest.mark.parametrize("box", [(0, 0, 50, 70), (9, 13, 30, 41), (47, 60, 50, 70)])
def test_requantise_makes_blocks_of_multiples_of_the_steps(tmp_path, box):
    film = make_jpeg(tmp_path / "a.jpg")
    mask = np.zeros(film.shape, np.bool_)
    mask[box[0] : box[2], box[1] : box[3]] = True
    noise = np.random.default_rng(1).integers(80, 120, film.shape).astype(np.uint8)
    filled = np.where(mask, noise, film)

    found = requantise(filled, mask, TABLE)

    np.testing.assert_array_equal(found[~mask], film[~mask])
    assert found.dtype == np.uint8
    # A block that is all inside: its cosines lie near multiples of the steps, those of noise not.
    top, left = -(-box[0] // 8) * 8, -(-box[1] // 8) * 8
    if top + 8 <= box[2] and left + 8 <= box[3]:
        block = found[top : top + 8, left : left + 8].astype(np.float32) - 128
        steps = cv2.dct(block) / np.reshape(TABLE, (8, 8))
        assert np.abs(steps - np.rint(steps)).mean() < 0.06


def test_requantise_without_a_mask_changes_nothing(tmp_path):
    film = make_jpeg(tmp_path / "a.jpg")

    np.testing.assert_array_equal(requantise(film, np.zeros(film.shape, np.bool_), TABLE), film)


@pytest.mark.parametrize(
    ("box", "blocks"),
    [
        ((0, 0, 1, 1), (0, 0, 8, 8)),
        ((7, 15, 9, 16), (0, 8, 16, 16)),
        ((8, 16, 16, 24), (8, 16, 16, 24)),
        ((48, 69, 50, 70), (48, 64, 50, 70)),  # cut by the film's edge
    ],
)
def test_grow_to_blocks_takes_whole_blocks(box, blocks):
    def draw(place):
        mask = np.zeros((50, 70), np.bool_)
        mask[place[0] : place[2], place[1] : place[3]] = True
        return mask

    np.testing.assert_array_equal(grow_to_blocks(draw(box)), draw(blocks))


def test_a_film_filled_in_whole_blocks_is_coded_again_without_loss(tmp_path):
    # So nothing at the seam tells the fill from the film: every block lies on the file's steps.
    film = make_jpeg(tmp_path / "a.jpg")
    mask = np.zeros(film.shape, np.bool_)
    mask[11:29, 18:37] = True
    noise = np.random.default_rng(1).integers(80, 120, film.shape).astype(np.uint8)

    def lose(hidden):
        filled = requantise(np.where(hidden, noise, film), hidden, TABLE)
        again = requantise(filled, np.ones(film.shape, np.bool_), TABLE)
        return np.abs(again.astype(int) - filled).mean()

    assert lose(grow_to_blocks(mask)) < 0.05
    assert lose(mask) > 0.2
