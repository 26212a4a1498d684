"""Networks and heads against their definitions."""

import pytest
import torch

from icelib import heads, models


def test_wide_resnet_34_10_is_the_published_network():
    backbone = models.WideResNet(34, 10)
    network = models.Classifier(backbone, heads.LinearHead(backbone.features, 10))
    assert backbone.features == 640
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(46.2e6, rel=2e-3)
    assert (
        sum(isinstance(m, torch.nn.Conv2d) and m.kernel_size != (1, 1) for m in network.modules()) == 31
    )  # 6n + 1, n = 5


def test_wide_resnet_40_2_has_the_published_size():
    backbone = models.WideResNet(40, 2)
    network = models.Classifier(backbone, heads.LinearHead(backbone.features, 10))
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(
        2.2e6, rel=2e-2
    )  # Zagoruyko & Komodakis, table 4


@pytest.mark.parametrize("depth", [0, 4, 9, 35])
def test_impossible_depth_is_refused(depth):
    with pytest.raises(ValueError, match=rf"is {depth}; expected 6n \+ 4"):
        models.WideResNet(depth, 2)


def test_dense_net_40_12_is_the_published_network():
    backbone = models.DenseNet(40, 12)
    network = models.Classifier(backbone, heads.LinearHead(backbone.features, 10))
    assert backbone.features == 448
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(1.0e6, rel=2e-2)  # Huang et al., table 2
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) + 1 == 40, "the stem, 36 layers, 2 transitions and the head"
    assert [m.kernel_size for m in convolutions].count((1, 1)) == 2, "no bottlenecks"


@pytest.mark.parametrize("depth", [0, 4, 8, 41])
def test_impossible_depth_of_a_dense_net_is_refused(depth):
    with pytest.raises(ValueError, match=rf"is {depth}; expected 3n \+ 4"):
        models.DenseNet(depth, 12)


def test_dense_net_shapes():
    backbone = models.DenseNet(10, 4, "strided", dropout=0.5)
    sizes = [16 + 4 * n for n in (2, 4, 6)]
    assert [t.conv.out_channels for t in backbone.blocks if isinstance(t, models.Transition)] == sizes[:2]
    assert backbone(torch.randn(3, 3, 32, 32)).shape == (3, sizes[2])


@pytest.mark.parametrize("stem", ["basic", "strided"])
def test_shapes(stem):
    network = models.Classifier(models.WideResNet(10, 2, stem), heads.GaussianHead(128, 6))
    x = torch.randn(3, 3, 32, 32)
    assert network.features(x).shape == (3, 128) and network(x).shape == (3, 6)


def test_head_stays_in_float32_under_autocast():
    network = models.Classifier(models.WideResNet(10, 1, "strided"), heads.GaussianHead(64, 6))
    with torch.autocast("cpu", torch.bfloat16):
        assert network(torch.randn(2, 3, 32, 32)).dtype == torch.float32


def test_normalised_images_have_known_values():
    images = torch.zeros(1, 3, 1, 1, dtype=torch.uint8)
    images[0, 0] = 255
    found = models.normalize(images).flatten()
    expected = torch.tensor([(255 - 125.3) / 63.0, -123.0 / 62.1, -113.9 / 66.7])
    torch.testing.assert_close(found, expected)
