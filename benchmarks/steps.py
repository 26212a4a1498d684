"""Ten training steps of every method on the paper's networks: are losses finite, how fast, how much memory?

    python benchmarks/steps.py [--steps 10] [--known 128] [--outliers 256] [--out OUT.csv]

The networks, schedules and batch sizes are those of the `paper` block in params.yaml; images are
random, so no data set is needed. Writes one row for each network and method: images per second
over the steps after the first two, peak memory of the GPU in GiB (empty on a CPU), and the last
step's loss terms. Ends with an error if a loss is not finite.
"""

import argparse
import time
from pathlib import Path

import pandas as pd
import torch

from icelib import hardware, params
from icelib.engine import Engine
from icelib.files import write_bytes
from icelib.methods import METHODS

CLASSES = 10


def measure(run, steps, device):
    """Train on random images; return one row of figures."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda count: torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    known, outliers = run.schedule.known_batch, run.schedule.outlier_batch
    data = {"known": draw(2 * known), "labels": torch.arange(2 * known) % CLASSES, "outliers": draw(2 * outliers)}
    engine = Engine(run, data, CLASSES, device)
    order = torch.Generator(device).manual_seed(0)
    index = torch.arange(known, device=device)
    outlier_index = torch.arange(outliers, device=device) if engine.method.outliers else None
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for step in range(steps):
        if step == min(2, steps - 1):
            wait()
            started = time.perf_counter()
        terms = engine.step(index, outlier_index, run.schedule.learning_rate, order)
    wait()
    seconds = time.perf_counter() - started
    values = {name: float(value) for name, value in terms.items()}
    if not all(map(torch.isfinite, terms.values())):
        raise SystemExit(f"{run.name}: a loss is not finite after {steps} steps: {values}")
    images = known + (outliers if engine.method.outliers else 0)
    return {
        "network": run.network,
        "method": run.method,
        **hardware.describe(device, engine.precision),
        "images": images,
        "images_per_second": round(images * (steps - min(2, steps - 1)) / seconds, 1),
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if device.type == "cuda" else "",
        "loss": " ".join(f"{name}={value:.4g}" for name, value in values.items()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--known", type=int, help="known images in a batch, as params.yaml has it if left out")
    parser.add_argument("--outliers", type=int, help="outliers in a batch")
    parser.add_argument("--networks", nargs="+", default=["wideresnet", "densenet"])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    device, rows = hardware.device(), []
    for network in options.networks:
        for method in METHODS:
            run = params.run("paper", "few", network, "scratch", method, 0)
            changes = {"known_batch": options.known, "outlier_batch": options.outliers}
            run = params.vary(run, {key: value for key, value in changes.items() if value})
            rows.append(measure(run, options.steps, device))
            print(rows[-1], flush=True)
            if options.out:
                write_bytes(options.out, pd.DataFrame(rows).to_csv(index=False).encode())


if __name__ == "__main__":
    main()
