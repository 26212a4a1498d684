"""Training steps of every method on large networks: are losses finite, how fast, how much memory?

    python -m speed.steps [--params configs/paper.yaml] [--networks wideresnet] [--known 128] [--out OUT.json]

Networks, schedules and batch sizes are those of a parameter file; images are random, so no data set is needed.
For each network and method: images per second over `--steps` steps after `--warm-up` more (which compile, with
`--compile`), peak memory of the GPU in GiB, and the last step's loss terms. Ends with an error if a loss is not finite.

`tflops` counts the convolutions' multiply-adds alone, twice each, three times forward for forward and
backward. `share` is that of the device's ceiling: what one large square matrix product reaches in the
same number type, timed before the networks. On a GPU float32 means TF32, in which the engine's
float32 convolutions run.
"""

import argparse
import math
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from icelib.config import runs
from icelib.methods import PAPER
from icelib.training.engine import Engine
from icelib.util import machine, paths
from icelib.util.files import write_json
from speed.turns import fastest, run_of, waiting

CLASSES = 10  # of the random images
CEILING_SIZE = {"cuda": 8192, "cpu": 2048}  # rows of the matrices: about 10 ms and 0.2 s


def ceiling(device, precision, size):
    """Floating-point operations per second of a product of matrices (size, size), the fastest of ten."""
    a, b = (torch.randn(size, size, device=device).to(precision) for _ in range(2))
    exactness = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")  # TF32, as of the convolutions; nothing on a CPU
    for _ in range(3):
        a @ b
    seconds = fastest({"product": lambda: a @ b}, 10, waiting(device))["product"]
    torch.set_float32_matmul_precision(exactness)
    return 2 * size**3 / seconds


def measure(run, steps, warm_up, device):
    """Train a run on random images; return one row of figures, or end the process if a loss is not finite."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda count: torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    known, outliers = run.schedule.known_batch, run.schedule.outlier_batch
    data = {"known": draw(2 * known), "labels": torch.arange(2 * known) % CLASSES, "outliers": draw(2 * outliers)}
    torch.compiler.reset()  # it compiles a function for eight networks at most, and keeps their memory
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    engine = Engine(run, data, CLASSES, device)
    order = torch.Generator(device).manual_seed(0)
    index = torch.arange(known, device=device)
    outlier_index = torch.arange(outliers, device=device) if engine.method.outliers else None
    wait = waiting(device)
    for step in range(warm_up + steps):
        if step == warm_up:
            wait()
            started = time.perf_counter()
        terms = engine.step(index, outlier_index, run.schedule.learning_rate, order)
    wait()
    seconds = time.perf_counter() - started
    losses = {name: float(value) for name, value in terms.items()}
    if not all(map(math.isfinite, losses.values())):
        raise SystemExit(f"{run.name}: a loss is not finite after {warm_up + steps} steps: {losses}")
    images = known + (outliers if engine.method.outliers else 0)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        engine.model.backbone.eval()(torch.zeros(1, 3, 32, 32, device=device))
    work = counter.get_total_flops() // 2
    return {
        "network": f"{run.scale}/{run.network}",
        "shape": run.shape.model_dump(),
        "method": run.method,
        "precision": str(engine.precision).removeprefix("torch."),
        "compiled": run.compile,
        "images": images,
        "images_per_second": images * steps / seconds,
        "multiply_adds": work,
        "tflops": 6 * work * images * steps / seconds / 1e12,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None,
        "loss": losses,
    }


def main(arguments=None):
    """Measure what the command line asks for; print and return what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--params", type=Path, default=paths.ROOT / "configs" / "paper.yaml")
    parser.add_argument("--networks", nargs="+", default=["wideresnet", "densenet"])
    parser.add_argument("--methods", nargs="+", default=PAPER, choices=PAPER)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warm-up", type=int, default=5)
    parser.add_argument("--known", type=int, help="known images in a batch, as params.yaml has it if left out")
    parser.add_argument("--outliers", type=int, help="outliers in a batch")
    parser.add_argument("--ceiling-size", type=int, help="rows of the matrices of the product")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    device = machine.device()
    size = options.ceiling_size or CEILING_SIZE[device.type]
    rows, ceilings = [], {}
    for network in options.networks:
        for method in options.methods:
            run = run_of(options.params, network, method).model_copy(update={"compile": options.compile})
            changes = {"known_batch": options.known, "outlier_batch": options.outliers}
            run = runs.vary(run, {key: value for key, value in changes.items() if value})
            precision = machine.choose_precision(run.schedule.precision, device)
            name = str(precision).removeprefix("torch.")
            if name not in ceilings:
                ceilings[name] = ceiling(device, precision, size) / 1e12
            row = measure(run, options.steps, options.warm_up, device)
            rows.append(row | {"share": row["tflops"] / ceilings[name]})
            print(_line(rows[-1]), flush=True)
            if options.out:
                environment = machine.describe(device, precision)
                write_json(options.out, {"environment": environment, "ceiling_tflops": ceilings, "rows": rows})
    return {"ceiling_tflops": ceilings, "rows": rows}


def _line(row):
    memory = f", {row['peak_gib']:.2f} GiB" if row["peak_gib"] is not None else ""
    losses = ", ".join(f"{name} {value:.4g}" for name, value in row["loss"].items())
    return (
        f"{row['network']} {row['method']:15} {row['precision']}{', compiled' * row['compiled']}: "
        f"{row['images_per_second']:9,.1f} images/s, {row['tflops']:.3g} TFLOP/s, "
        f"{row['share']:.0%} of a matrix product{memory}; {losses}"
    )


if __name__ == "__main__":
    main()
