"""Networks: a backbone Z(x), and on it a head of `icelib.heads` or another with their signature."""

import functools

import torch
import torch.nn.functional as F
from torch import nn

from icelib.heads import HEADS

# All scores come from a float32 network, also where it was trained in bfloat16.
PRECISION = torch.float32

# Channel means and deviations of CIFAR-10's training images, as shares of 255.
MEAN = (125.3 / 255, 123.0 / 255, 113.9 / 255)
STD = (63.0 / 255, 62.1 / 255, 66.7 / 255)


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
        y = F.relu(self.norm1(x), inplace=True)
        # Where the shape changes, the shortcut starts from the activated input.
        skip = x if self.shortcut is None else self.shortcut(y)
        y = F.relu(self.norm2(self.conv1(y)), inplace=True)
        return skip + self.conv2(self.dropout(y))


class WideResNet(nn.Module):
    """Wide residual network without its last layer: images (N, 3, 32, 32) → features (N, d).

    `depth` is 6n + 4, n ≥ 1, for 3 groups of n blocks: 6n + 1 convolutions, and by convention the 3 shortcuts (else
    ValueError); `widen` is the factor k on the widths 16, 32, 64, so that d = 64 k; `stem` is "basic", a 3×3
    convolution, or "strided", 4×4 with stride 2, which quarters the work of all that follows; `dropout` is the
    probability between the convolutions of a block.

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
        self.stem = _stem(stem)
        blocks = []
        for group in range(3):
            for i in range((depth - 4) // 6):
                inside = widths[group] if i == 0 else widths[group + 1]
                stride = 2 if group > 0 and i == 0 else 1
                blocks.append(Block(inside, widths[group + 1], stride, dropout))
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(self.features)
        _initialise(self)

    def forward(self, x):
        x = F.relu(self.norm(self.blocks(self.stem(x))), inplace=True)
        return x.mean((2, 3))  # (N, d)


class Layer(nn.Module):
    """Pre-activation 3×3 convolution whose output is appended to its input."""

    def __init__(self, inside, growth, dropout):
        super().__init__()
        self.norm = nn.BatchNorm2d(inside)
        self.conv = nn.Conv2d(inside, growth, 3, 1, 1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        return torch.cat([x, self.dropout(self.conv(F.relu(self.norm(x), inplace=True)))], 1)


class Transition(nn.Module):
    """Pre-activation 1×1 convolution of all channels, then 2×2 averages."""

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x):
        return F.avg_pool2d(self.conv(F.relu(self.norm(x), inplace=True)), 2)


class DenseNet(nn.Module):
    """Densely connected network without its last layer: images (N, 3, 32, 32) → features (N, d).

    The basic form, without bottleneck or compression: d = 16 + growth · (depth − 4).

    `depth` is 3n + 4, n ≥ 1, for 3 blocks of n layers, 2 transitions, the stem and the head (else ValueError);
    `growth` are the channels that each layer adds; `stem` as in `WideResNet`; `dropout` is the probability after
    each convolution of a block.

    Notes
    -----
    Huang, Liu, van der Maaten and Weinberger, "Densely Connected Convolutional Networks", 2017.
    """

    def __init__(self, depth, growth, stem="basic", dropout=0.0):
        super().__init__()
        if depth < 7 or (depth - 4) % 3:
            raise ValueError(f"depth of a dense network is {depth}; expected 3n + 4: 7, 10, 13, 22, 40, 100, …")
        self.stem = _stem(stem)
        parts, channels = [], 16
        for block in range(3):
            if block > 0:
                parts.append(Transition(channels))
            for _ in range((depth - 4) // 3):
                parts.append(Layer(channels, growth, dropout))
                channels += growth
        self.features = channels
        self.blocks = nn.Sequential(*parts)
        self.norm = nn.BatchNorm2d(channels)
        _initialise(self)

    def forward(self, x):
        x = F.relu(self.norm(self.blocks(self.stem(x))), inplace=True)
        return x.mean((2, 3))  # (N, d)


def _stem(kind):
    return nn.Conv2d(3, 16, 3, 1, 1, bias=False) if kind == "basic" else nn.Conv2d(3, 16, 4, 2, 1, bias=False)


def _initialise(network):
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


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


BACKBONES = {"wideresnet": WideResNet, "densenet": DenseNet}


def build(network, shape, head, classes, head_parameters):
    """Build an untrained classifier.

    `network` is a key of `BACKBONES` with parameters `shape`, `head` a key of `heads.HEADS` or a class with those that
    `heads.parameters` names; ValueError if the one cannot have such a depth or the other so many classes.
    """
    backbone = BACKBONES[network](**shape)
    return Classifier(backbone, HEADS.get(head, head)(backbone.features, classes, **head_parameters))


def normalize(images):
    """Turn uint8 images into network input: (N, 3, 32, 32) in 0…255 → float32.

    Channels of CIFAR-10's training images then have mean 0 and deviation 1, whatever the known set is.
    """
    mean, std = _statistics(images.device)
    return images.float().div_(255).sub_(mean).div_(std)


@functools.cache
def _statistics(device):
    """Mean and deviation on a device; to copy them there at each step would make the host wait for it."""
    return [torch.tensor(values, device=device).view(3, 1, 1) for values in (MEAN, STD)]


@torch.no_grad()
def predict(model, images, precision, batch=250, features=False):
    """Run a network over images in evaluation mode.

    Images are uint8 (N, 3, 32, 32) on any device; returned are logits (N, K), or features (N, d), in float32 on the
    network's. `precision` is that of the backbone; the head is always in float32. What a layer makes of many more
    images than `batch` leaves a CPU's cache.
    """
    device = next(model.parameters()).device
    model.eval()
    outputs = []
    for part in images.split(batch):
        x = normalize(part.to(device)).to(memory_format=torch.channels_last)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            outputs.append(model.features(x) if features else model(x))
    return torch.cat(outputs).float()


@torch.no_grad()
def logits(model, z, batch=1000):
    """Logits (N, K) of a network's head from features z (N, d), on the network's device."""
    device = next(model.parameters()).device
    return torch.cat([model.head(part.to(device)) for part in z.split(batch)])
