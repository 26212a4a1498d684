"""Networks: a backbone Z(x) with a linear (eq. 0.1) or Gaussian (eq. 0.11) head."""

import math

import torch
import torch.nn.functional as F
from torch import nn

# Channel means and deviations of CIFAR-10's training images, as shares of 255.
MEAN = (125.3 / 255, 123.0 / 255, 113.9 / 255)
STD = (63.0 / 255, 62.1 / 255, 66.7 / 255)


class LinearHead(nn.Linear):
    """Logits f_i(z) = w_iᵀz + b_i (eq. 0.1): (N, d) → (N, K)."""

    def __init__(self, features, classes):
        super().__init__(features, classes)
        nn.init.zeros_(self.bias)


class GaussianHead(nn.Module):
    """Logits h_i(z) = −‖L⁻¹(z − m_i)‖² (eq. 0.11): (N, d) → (N, K), each ≤ 0.

    L is lower triangular with positive diagonal, shared by all classes; exp(h_i) plays the part
    of class i's likelihood.

    Parameters
    ----------
    features, classes : int
        d and K.
    mean_scale : float
        Standard deviation of the entries of m at the start.
    covariance_scale : float
        L starts as ``covariance_scale * sqrt(d)`` times the identity. As squared distances add up
        over d coordinates, this keeps them independent of the network's width.
    """

    def __init__(self, features, classes, mean_scale, covariance_scale):
        super().__init__()
        self.means = nn.Parameter(mean_scale * torch.randn(classes, features))  # (K, d)
        # Below the diagonal the entries of L, on it their logarithms: the diagonal stays positive.
        start = math.log(covariance_scale * math.sqrt(features))
        self.lower = nn.Parameter(torch.diag(torch.full((features,), start)))  # (d, d)

    @property
    def L(self):
        """Cholesky factor of the shared covariance: (d, d)."""
        return self.lower.tril(-1) + torch.diag(self.lower.diagonal().exp())

    def forward(self, z):
        both = torch.cat([z, self.means])  # (N + K, d)
        both = torch.linalg.solve_triangular(self.L, both.T, upper=False).T
        z, m = both[: len(z)], both[len(z) :]  # L⁻¹z (N, d), L⁻¹m (K, d)
        squared = z.square().sum(1, keepdim=True) + m.square().sum(1) - 2 * z @ m.T  # (N, K)
        return -squared.clamp(min=0)  # rounding may leave −1e-7 where z = m


class Block(nn.Module):
    """Pre-activation residual block of two 3×3 convolutions."""

    def __init__(self, inside, outside, stride, dropout):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outside)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.shortcut = None if inside == outside else nn.Conv2d(inside, outside, 1, stride, bias=False)

    def forward(self, x):
        y = F.relu(self.norm1(x))
        # Where the shape changes, the shortcut starts from the activated input.
        skip = x if self.shortcut is None else self.shortcut(y)
        y = F.relu(self.norm2(self.conv1(y)))
        return skip + self.conv2(self.dropout(y))


class WideResNet(nn.Module):
    """Wide residual network without its last layer: images (N, 3, 32, 32) → features (N, d).

    Parameters
    ----------
    depth : int
        6n + 4, for 3 groups of n blocks: 6n + 1 convolutions, and by convention the 3 shortcuts.
    widen : int
        Factor k on the widths 16, 32, 64; d = 64 k.
    stem : {"basic", "strided"}
        First convolution: 3×3, or 4×4 with stride 2, which quarters the work of all that follows.
    dropout : float
        Probability, between the convolutions of a block.

    Raises
    ------
    ValueError
        If `depth` is not 6n + 4.

    Notes
    -----
    Zagoruyko and Komodakis, "Wide Residual Networks", 2016.
    """

    def __init__(self, depth, widen, stem="basic", dropout=0.0):
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"depth of a wide residual network is {depth}; expected 6n + 4: 10, 16, 22, 28, 34, 40, …")
        widths = [16, 16 * widen, 32 * widen, 64 * widen]
        self.features = widths[-1]
        self.stem = {
            "basic": nn.Conv2d(3, 16, 3, 1, 1, bias=False),
            "strided": nn.Conv2d(3, 16, 4, 2, 1, bias=False),
        }[stem]
        blocks = []
        for group in range(3):
            for i in range((depth - 4) // 6):
                inside = widths[group] if i == 0 else widths[group + 1]
                stride = 2 if group > 0 and i == 0 else 1
                blocks.append(Block(inside, widths[group + 1], stride, dropout))
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(self.features)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = F.relu(self.norm(self.blocks(self.stem(x))))
        return x.mean((2, 3))  # (N, d)


class Classifier(nn.Module):
    """Backbone and head: normalised images (N, 3, 32, 32) → logits (N, K)."""

    def __init__(self, backbone, head):
        super().__init__()
        self.backbone = backbone
        self.head = head

    def features(self, x):
        """Features of the penultimate layer in float32: (N, 3, 32, 32) → (N, d)."""
        return self.backbone(x).float()

    def forward(self, x):
        z = self.features(x)
        # Squared distances need more digits than bfloat16 has.
        with torch.autocast(x.device.type, enabled=False):
            return self.head(z)


BACKBONES = {"wideresnet": WideResNet}


def build(network, shape, head, classes, head_start):
    """Build an untrained classifier.

    Parameters
    ----------
    network : str
        Key of `BACKBONES`.
    shape : dict
        Its parameters.
    head : {"linear", "gaussian"}
    classes : int
        K.
    head_start : dict
        Start values of `GaussianHead`; the linear head has none.

    Returns
    -------
    Classifier
    """
    backbone = BACKBONES[network](**shape)
    if head == "linear":
        return Classifier(backbone, LinearHead(backbone.features, classes))
    return Classifier(backbone, GaussianHead(backbone.features, classes, **head_start))


def normalize(images):
    """Turn uint8 images into network input: (N, 3, 32, 32) in 0…255 → float32, mean 0, deviation 1."""
    mean = torch.tensor(MEAN, device=images.device).view(3, 1, 1)
    std = torch.tensor(STD, device=images.device).view(3, 1, 1)
    return (images.float() / 255 - mean) / std
