import torch
from area_path_twin import explain
from papers_twin import blur

from covid_debug.models.scoring import TargetScore
from covid_debug.saliency.base import ImageGroup
from covid_debug.saliency.catalog import build_explainer
from tests.toys import SmallNet, bright_patch_images, wrap

SIDE = 8
PARAMS = {
    "n_start": 3, "n_iterations": 4, "step_size": 0.2, "softness": 0.3, "tv_weight": 0.05,
}  # fmt: skip


def test_area_path_equals_its_slow_twin() -> None:
    classifier = wrap(SmallNet(3, SIDE), SIDE, 3).double()
    images = bright_patch_images(2, SIDE, 2, 2, 3).double()
    images[1] = images[1].flip(-1)
    baseline = blur(images)
    with torch.no_grad():
        targets = (classifier(images) - classifier(baseline)).argmax(dim=1)
    score = TargetScore(classifier, targets, scale="logit", max_batch=3)

    raw = build_explainer("area_path", grid_size=4, **PARAMS)._explain(
        ImageGroup(score, images, baseline, [])
    )

    for i in range(2):

        def f(image, target=int(targets[i])):
            return classifier(image[None, None])[0, target]

        with torch.no_grad():
            unit = abs(float(f(images[i, 0]) - f(baseline[i, 0])))
        prices = {"tv_weight": PARAMS["tv_weight"] * unit}
        expected = explain(
            f, images[i, 0], baseline[i, 0], grid=4, unit=unit, **{**PARAMS, **prices}
        )
        assert float(expected.std()) > 0.05
        torch.testing.assert_close(raw.keep_mask[i, 0], expected, rtol=1e-9, atol=1e-12)
    assert score.n_evaluations == 2 * (3 + 2 * 4 + 2 + 2 * 3)
