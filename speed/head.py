"""The Gaussian head and ICE's loss, forward and backward, against one training step of the network below them.

    python -m speed.head [--samples 384] [--classes 10 100] [--images 384] [--depth 16 --widen 2] [--out OUT.json]

The head is timed in its two full forms: `lower` learns the covariance's factor L, as the paper does,
and solves a triangular system; `precision` learns L⁻¹ and multiplies. Both, in float32, get random
features of the network's width that want a gradient, a third of them known, and take turns,
`--repeats` times; the fastest turn counts. The network is that of configs/paper.yaml
(WideResNet-34-10, d = 640) unless depth and width are given, its step one of the engine by OE,
which has a linear head, with as many images. A CPU takes minutes for that, so
there 12 images are timed and the seconds scaled in proportion: an estimate, as the optimiser's share
does not grow with the images, and kernels may be faster on more of them.
"""

import argparse
from pathlib import Path

import torch

from icelib import heads, losses
from icelib.config import runs
from icelib.training.engine import Engine
from icelib.util import machine, paths
from icelib.util.files import write_json
from speed.turns import fastest, run_of, waiting

# of `heads.FACTORS`, those that hold a whole triangle
FACTORS = ("lower", "precision")
CPU_IMAGES = 12


def head_step(factor, samples, features, classes, device):
    """Return a call of the head in one form and the loss, forward and backward, on features (samples, features)."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(samples, features, generator=generator).to(device).requires_grad_()
    head = heads.GaussianHead(features, classes, factor=factor).to(device)
    inputs, known = [z, *head.parameters()], samples // 3
    labels = (torch.arange(known) % classes).to(device)

    def work():
        logits = head(z)
        return torch.autograd.grad(sum(losses.ice(logits[:known], labels, logits[known:], weight=0.5).values()), inputs)

    return work


def network_step(path, images, device, shape):
    """Return a training step of a parameter file's network on so many images, and the engine that takes it.

    `shape` replaces values of the network's shape.
    """
    run = run_of(path, "wideresnet", "oe")
    run = run.model_copy(update={"shape": run.shape.model_copy(update=shape)})
    known = images // 3  # 128 and 256 of the paper's 384
    run = runs.vary(run, {"known_batch": known, "outlier_batch": images - known})
    generator = torch.Generator().manual_seed(0)
    draw = lambda count: torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    data = {"known": draw(known), "labels": torch.arange(known) % 10, "outliers": draw(images - known)}
    engine = Engine(run, data, 10, device)
    order = torch.Generator(device).manual_seed(0)
    index, outlier_index = (torch.arange(count, device=device) for count in (known, images - known))
    return (lambda: engine.step(index, outlier_index, 0.001, order)), engine


def compare(path, samples, classes, images, repeats, device, shape):
    """Time head and loss in both forms for each number of classes, and the network's step; return all in seconds."""
    step, engine = network_step(path, images, device, shape)
    features = engine.model.backbone.features
    sides = {
        (factor, count): head_step(factor, samples, features, count, device) for count in classes for factor in FACTORS
    }
    wait = waiting(device)
    for work in [*sides.values(), step, step, step] if device.type == "cuda" else sides.values():
        work()  # warms up
    seconds = fastest(sides | {"step": step}, repeats, wait)
    network = seconds.pop("step") * samples / images
    rows = [
        {
            "classes": count,
            "seconds": {factor: seconds[factor, count] for factor in FACTORS},
            "share_of_step": {factor: seconds[factor, count] / network for factor in FACTORS},
            "precision_times_as_fast": seconds["lower", count] / seconds["precision", count],
        }
        for count in classes
    ]
    return {
        "environment": machine.describe(device, engine.precision),
        "network": f"{engine.run.scale} {engine.run.network}",
        "shape": engine.run.shape.model_dump(),
        "features": features,
        "samples": samples,
        "images_timed": images,
        "step_seconds": network,
        "rows": rows,
    }


def main(arguments=None):
    """Measure what the command line asks for; print and return what was found."""
    device = machine.device()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--params", type=Path, default=paths.ROOT / "configs" / "paper.yaml", help="whose wideresnet is timed"
    )
    parser.add_argument("--samples", type=int, default=384)
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 100])
    parser.add_argument(
        "--images", type=int, help=f"in the network's step: samples, on a CPU {CPU_IMAGES}, if left out"
    )
    parser.add_argument("--depth", type=int, help="of the network, instead of the file's")
    parser.add_argument("--widen", type=int)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    images = options.images or (options.samples if device.type == "cuda" else CPU_IMAGES)
    shape = {key: value for key in ("depth", "widen") if (value := getattr(options, key))}
    result = compare(options.params, options.samples, options.classes, images, options.repeats, device, shape)
    scaled = "" if images == options.samples else f", scaled from {images}"
    size = "-".join(str(result["shape"][key]) for key in ("depth", "widen"))
    print(f"{result['network']}-{size}, a step of {options.samples} images: {result['step_seconds']:.3f} s{scaled}")
    for row in result["rows"]:
        for factor, seconds in row["seconds"].items():
            share = row["share_of_step"][factor]
            print(
                f"  head and loss, K = {row['classes']:3}, {factor:9} {seconds * 1000:8.2f} ms, {share:.3%} of the step"
            )
    if options.out:
        write_json(options.out, result)
    return result


if __name__ == "__main__":
    main()
