import torch

from covid_debug.evaluation.localization import measure_localization


def region(*cells: tuple[int, int]) -> torch.Tensor:
    found = torch.zeros(1, 1, 2, 2, dtype=torch.bool)
    for i, j in cells:
        found[0, 0, i, j] = True
    return found


def test_measures_of_a_known_map() -> None:
    saliency = torch.tensor([[0.6, 0.2], [0.2, -5.0]]).view(1, 1, 2, 2)

    result = measure_localization(saliency, region((0, 0), (1, 1)))

    torch.testing.assert_close(result.mass, torch.tensor([0.6]))
    torch.testing.assert_close(result.enrichment, torch.tensor([1.2]))
    torch.testing.assert_close(result.rank_accuracy, torch.tensor([0.5]))
    assert result.pointing_hit.tolist() == [True]


def test_an_even_map_has_enrichment_one() -> None:
    result = measure_localization(torch.ones(1, 1, 2, 2), region((0, 1)))

    torch.testing.assert_close(result.enrichment, torch.ones(1))


def test_empty_region_and_map_without_evidence_are_undefined() -> None:
    empty = measure_localization(torch.ones(1, 1, 2, 2), region())
    dark = measure_localization(-torch.ones(1, 1, 2, 2), region((0, 0)))

    assert bool(empty.enrichment.isnan())
    assert bool(empty.rank_accuracy.isnan())
    assert empty.mass.tolist() == [0.0]
    assert bool(dark.mass.isnan())
