"""Every backbone builds for gray and colour, and takes weights from local files only."""

import pytest
import torch
from safetensors.torch import save_file

from covid_debug.errors import CatalogError, CheckpointError, InputContractError
from covid_debug.models.catalog import BACKBONES, build_backbone, find_preset


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("arch", sorted(BACKBONES))
def test_backbone_returns_a_logit_per_class(arch, channels):
    network = build_backbone(arch, 3, channels).eval()

    with torch.no_grad():
        logits = network(torch.rand(1, channels, 64, 64))

    assert logits.shape == (1, 3)
    assert torch.isfinite(logits).all()


def test_resnet18_half_has_half_the_channels():
    assert sum(p.numel() for p in build_backbone("resnet18_half", 3, 1).parameters()) == 2_796_515


def test_arch_params_reach_the_network():
    network = build_backbone("covidnet", 2, 1, widths=[4, 8], depths=[1, 1])

    assert network.head[-1].in_features == 8


def test_imagenet_weights_fill_everything_but_the_last_layer(tmp_path):
    source = build_backbone("resnet18_half", 10, 3).eval()
    save_file(source.state_dict(), tmp_path / "weights.safetensors")

    network = build_backbone(
        "resnet18_half", 3, 1, weights_path=tmp_path / "weights.safetensors"
    ).eval()

    gray = torch.rand(1, 1, 64, 64)
    source.fc = network.fc
    torch.testing.assert_close(network(gray), source(gray.expand(-1, 3, -1, -1)))


def test_weights_of_another_architecture_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.zeros(1)}, path)

    with pytest.raises(CheckpointError, match=r"tensors missing .*1 unexpected tensors \(e.g. a\)"):
        build_backbone("resnet18_half", 3, 1, weights_path=path)


def test_missing_weights_are_not_downloaded(tmp_path):
    with pytest.raises(CheckpointError, match="never downloaded"):
        build_backbone("resnet18_half", 3, 1, weights_path=tmp_path / "none.pt")


def test_unknown_backbone_is_suggested():
    with pytest.raises(CatalogError, match="did you mean 'covidnet'"):
        build_backbone("covid-net", 3, 1)


@pytest.mark.parametrize(
    ("arguments", "params", "message"),
    [
        (("covidnet", 0, 1), {}, "n_classes is 0"),
        (("covidnet", 3, 2), {}, "channels 2"),
        (("covidnet", 3, 1), {"width": 3}, "covidnet cannot be built with {'width': 3}"),
    ],
)
def test_bad_argument_is_named(arguments, params, message):
    with pytest.raises(InputContractError, match=message):
        build_backbone(*arguments, **params)


def test_preset_of_an_unknown_network_suggests_one():
    with pytest.raises(CatalogError, match="did you mean 'resnet18'"):
        find_preset("torchvision:resnet19")
