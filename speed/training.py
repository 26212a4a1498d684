"""Training images per second: our engine against the loop that the methods' published code has.

    python -m speed.training [--params params.yaml] [--network wideresnet] [--method oe] [--out OUT.json]

The loop is written in the manner of the code of OE and Energy (`outlier-exposure`, `energy_ood`):
one DataLoader for known images and one for outliers, PIL images with torchvision's transforms one
by one, one pass over both in float32, torch's SGD, and the loss read after every step. Network,
initial weights, batch sizes, loss and images (random) are the engine's. What the loop is spared:
gradient clipping, a learning-rate schedule, the published code's detour of outliers over tensors.

All sides take turns in this process, `--repeats` times, and the fastest turn of each counts. The
engine's turn is an epoch of `--steps` steps, all included. The loop's clock starts when its workers
are up and what they fetched ahead is used up, and stops after as many steps. `--workers` is what to
try for each of its two loaders; the ratio is to the best. "loop, no loading" trains on batches that
are ready beforehand: the rest of its time is loading. On a GPU the loop lets cuDNN choose algorithms
by timing, as the published code does, and its float32 convolutions run in TF32, PyTorch's default.
"""

import argparse
import itertools
import math
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms

from icelib import models
from icelib.config import runs
from icelib.training.engine import Engine
from icelib.util import machine, paths
from icelib.util.files import write_json
from speed.turns import run_of

CLASSES = 10  # of the random images
LEARNING_RATE = 0.001  # the same work as any other, and losses stay finite without clipping


class PILImages(Dataset):
    """Images as torchvision's CIFAR10 gives them: PIL ones, transformed one by one."""

    transform = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.RandomCrop(32, padding=4),
            transforms.ToTensor(),
            transforms.Normalize(models.MEAN, models.STD),
        ]
    )

    def __init__(self, images, labels):
        self.images, self.labels = images.permute(0, 2, 3, 1).numpy(), labels.tolist()

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.transform(Image.fromarray(self.images[i])), self.labels[i]


class Loop:
    """The conventional loop on an engine's network, loss and images.

    Parameters
    ----------
    engine : Engine
        Before it has taken a step: the loop starts from a copy of its weights.
    data : dict of str to Tensor
        What the engine trains on.
    workers : int or None
        Of each loader; with None batches are ready beforehand.
    """

    def __init__(self, engine, data, workers):
        self.run, self.loss, self.device = engine.run, engine.method.loss, engine.device
        self.workers, self.steps, self.losses = workers, engine.steps, []
        head = engine.method.head
        self.model = models.build(self.run.network, self.run.shape.model_dump(), head, CLASSES, self.run.head)
        self.model.load_state_dict(engine.model.state_dict())
        self.model.to(self.device)
        schedule = self.run.schedule
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            schedule.learning_rate,
            momentum=schedule.momentum,
            weight_decay=schedule.weight_decay,
            nesterov=True,
        )
        self.sets = [(PILImages(data["known"], data["labels"]), engine.known_batch)]
        if engine.method.outliers:
            labels = torch.zeros(len(data["outliers"]), dtype=torch.int64)
            self.sets.append((PILImages(data["outliers"], labels), schedule.outlier_batch))

    def turn(self):
        """Train for as many steps as the engine's epoch has; return seconds and processor seconds."""
        warm_up = 2 + 2 * (self.workers or 0)  # each worker fetches two batches ahead
        loaders = [self._batches(images, batch, warm_up) for images, batch in self.sets]
        chosen_by_timing = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = True
        self.model.train()
        for step, parts in enumerate(zip(*loaders, strict=True)):
            if step == warm_up:
                started = _clocks()
            x = torch.cat([images for images, _ in parts]).to(self.device)
            labels = parts[0][1].to(self.device)
            logits = self.model(x)
            terms = self.loss(logits[: len(labels)], labels, logits[len(labels) :], **self.run.loss)
            loss = sum(terms.values()) if isinstance(terms, dict) else terms
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.losses.append(loss.item())
        seconds = _clocks() - started
        torch.backends.cudnn.benchmark = chosen_by_timing
        return seconds

    def _batches(self, images, batch, warm_up):
        steps = warm_up + self.steps
        if self.workers is None:
            loader = DataLoader(images, batch, shuffle=True)
            return itertools.islice(itertools.cycle(list(itertools.islice(loader, 4))), steps)
        return DataLoader(
            images,
            batch,
            sampler=RandomSampler(images, num_samples=steps * batch),
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
        )


class Epochs:
    """Turns of the engine: its first epoch, again and again."""

    def __init__(self, engine):
        self.engine, self.losses = engine, []

    def turn(self):
        """Train for an epoch; return seconds and processor seconds."""
        started = _clocks()
        terms = self.engine.epoch(0)  # ends with a look at the losses, for which it waits
        seconds = _clocks() - started
        self.losses.append(sum(terms.values()))
        return seconds


def _clocks():
    """Seconds on the wall's clock and of the processor, in this process."""
    return np.array([time.perf_counter(), time.process_time()])


def sides(run, steps, workers, device):
    """Return by name the engine as it is, in float32 where it has another number type, compiled on a GPU, and the loops."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda count: torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    known = steps * run.schedule.known_batch
    data = {"known": draw(known), "labels": torch.arange(known) % CLASSES}
    data["outliers"] = draw(steps * run.schedule.outlier_batch)
    engines = {"engine": Engine(run, data, CLASSES, device)}
    loops = {f"loop, {count} workers": Loop(engines["engine"], data, count) for count in workers}
    loops["loop, no loading"] = Loop(engines["engine"], data, None)
    if device.type == "cuda":
        engines["engine, compiled"] = Engine(run.model_copy(update={"compile": True}), data, CLASSES, device)
    if engines["engine"].precision != torch.float32:
        run = runs.vary(run, {"precision": "float32"})
        engines["engine, float32"] = Engine(run, data, CLASSES, device)
    return {name: Epochs(engine) for name, engine in engines.items()} | loops


def compare(run, steps, workers, repeats, device):
    """Time all sides; return images per second of each, and the engine's ratio to the loop's best.

    Ends the process if a loss is not finite.
    """
    everyone = sides(run, steps, workers, device)
    engine = everyone["engine"].engine
    for name, side in everyone.items():
        if name.startswith("engine"):
            side.turn()  # warms up; a loop's turn does so itself
    seconds = {name: [] for name in everyone}
    for _ in range(repeats):
        for name, side in everyone.items():
            seconds[name].append(side.turn())
    losses = {name: side.losses[-1] for name, side in everyone.items()}
    if not all(map(math.isfinite, losses.values())):
        raise SystemExit(f"a loss is not finite: {losses}")
    fastest, processor = ({n: float(np.min(v, 0)[i]) for n, v in seconds.items()} for i in (0, 1))
    slowest = {name: float(np.max(values, 0)[0]) for name, values in seconds.items()}
    speeds = {name: engine.images_per_epoch / value for name, value in fastest.items()}
    best = max((name for name in speeds if name.endswith("workers")), key=speeds.get)
    return {
        "environment": machine.describe(device, engine.precision),
        "run": f"{run.scale} {run.name}",
        "shape": run.shape.model_dump(),
        "images_per_step": engine.images_per_epoch // engine.steps,
        "steps": engine.steps,
        "repeats": repeats,
        "images_per_second": speeds,
        "slowest_turn": {name: engine.images_per_epoch / value for name, value in slowest.items()},
        "processor_seconds_per_step": {name: value / engine.steps for name, value in processor.items()},
        "peer": best,
        "times_as_fast": {name: speeds[name] / speeds[best] for name in speeds if name.startswith("engine")},
        "last_loss": losses,
    }


def main(arguments=None):
    """Measure what the command line asks for; print and return what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--params", type=Path, default=paths.PARAMS, help="file with network and batch sizes")
    parser.add_argument("--network", default="wideresnet")
    parser.add_argument("--method", default="oe")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2, 4])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--known", type=int, help="known images in a batch, as params.yaml has it if left out")
    parser.add_argument("--outliers", type=int, help="outliers in a batch")
    parser.add_argument("--threads", type=int, help="of this process; as PyTorch chooses if left out")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads or torch.get_num_threads())
    run = run_of(options.params, options.network, options.method)
    changes = {"known_batch": options.known, "outlier_batch": options.outliers, "learning_rate": LEARNING_RATE}
    run = runs.vary(run, {key: value for key, value in changes.items() if value})
    row = compare(run, options.steps, options.workers, options.repeats, machine.device())
    print(f"{row['run']}, {row['images_per_step']} images a step, {row['environment']['precision']}:")
    for name, speed in row["images_per_second"].items():
        ratio = row["times_as_fast"].get(name)
        ahead = f", {ratio:.2f} times the {row['peer']}" if ratio else ""
        slowest, busy = row["slowest_turn"][name], row["processor_seconds_per_step"][name] * 1000
        print(f"  {name:21} {speed:8,.0f} images/s (slowest turn {slowest:,.0f}), {busy:.1f} ms of processor{ahead}")
    if options.out:
        write_json(options.out, row)
    return row


if __name__ == "__main__":
    main()
