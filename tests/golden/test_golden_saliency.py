import numpy as np
import pytest

from tests.golden.rewrite import CASES, PATH, make_maps


@pytest.fixture(scope="module")
def maps() -> dict[str, np.ndarray]:
    return make_maps()


def test_every_catalogue_entry_has_a_golden_map() -> None:
    assert set(np.load(PATH).files) == set(CASES)


@pytest.mark.parametrize("name", sorted(CASES))
def test_map_equals_its_golden_map(name: str, maps: dict[str, np.ndarray]) -> None:
    stored = np.load(PATH)[name]

    # Rounding differs between processors; steps of an optimiser carry it on.
    np.testing.assert_allclose(maps[name], stored, rtol=1e-3, atol=1e-4 * np.abs(stored).max())
