"""Reading params.yaml, and the runs that it declares.

``python -m icelib.config.runs`` checks the file: the pipeline's first stage, since DVC removes what a stage made
before the stage's command can check anything.
"""

import argparse
import functools
import hashlib
import json
from collections import defaultdict

import yaml
from pydantic import ValidationError

from icelib import heads
from icelib.config.schema import (
    SEEDS,
    DenseNetShape,
    Params,
    Schedule,
    Strict,
    WideResNetShape,
    as_number,
    check_parameters,
    hint,
    loss_parameters,
)  # fmt: skip
from icelib.methods import METHODS
from icelib.util import paths
from icelib.util.errors import readable_errors
from icelib.util.files import write_bytes


class Run(Strict):
    """One training run and all that determines its weights beside images and code, see `training.store.digest`."""

    scale: str
    task: str
    network: str
    protocol: str
    method: str
    seed: int
    shape: WideResNetShape | DenseNetShape
    schedule: Schedule
    loss: dict[str, int | float | str]  # parameters of the loss, as its keywords
    head: dict[str, int | float | str]
    threads: int
    compile: bool
    parent: "Run | None" = None  # whose weights a fine-tuned run starts from
    tried: str = ""  # the name that a user gave to a try; empty for what params.yaml declares

    @property
    def name(self):
        """``task-network-protocol-method-seed``: the name of its files and of its rows in tables."""
        return "-".join([self.task, self.network, self.protocol, self.method, str(self.seed)])

    @property
    def configuration(self):
        """Hash of all this, by which result files tell what they are of, also without data or on other hardware."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()[:32]

    def file(self, kind, suffix="json"):
        """Path of one of its result files, metrics or logits say."""
        return paths.results(self.scale) / kind / f"{self.name}.{suffix}"


def load(path=None):
    """Read and check params.yaml.

    `path` is another file of that form; a ValueError names file, key, the value found and what was expected.
    """
    path = path or paths.PARAMS
    try:
        return _parsed(path.read_bytes(), str(paths.relative(path)))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; run from a checkout of the project, or set ICELIB_ROOT to one") from None


@functools.lru_cache(maxsize=4)  # it is asked for at every look-up of a run
def _parsed(text, name):
    try:
        content = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: there is no such date
        raise ValueError(f"{name} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{name}: expected a mapping of keys, found {type(content).__name__}")
    try:
        return Params(**{str(key): value for key, value in content.items()})
    except ValidationError as error:
        raise ValueError("\n".join(f"{name}: {line}" for line in _lines(error))) from None


class _Loader(yaml.SafeLoader):
    """Plain YAML in which no key is given twice: the second value would silently win."""

    def compose_mapping_node(self, anchor):
        node, seen = super().compose_mapping_node(anchor), set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                where = key.start_mark
                raise yaml.composer.ComposerError(None, None, "a key is a mapping or a list; expected a word", where)
            if key.value in seen:
                raise yaml.composer.ComposerError(None, None, f"the key {key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return node


def _lines(error):
    for item in error.errors():
        place = ".".join(map(str, item["loc"])).removesuffix(".[key]")
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "missing":
            yield f"{place} is missing"
        elif item["type"] == "extra_forbidden":
            yield f"{place}: no such key (found value {_short(item['input'])})"
        elif isinstance(item["input"], dict) and item["type"] == "value_error":  # tells which of its values is wrong
            yield f"{place}: {message}".removeprefix(": ")
        else:
            yield f"{place} = {_short(item['input'])}: {message}{as_number(item['input'])}"


def _short(value):
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits, which YAML may give in others than decimal
        return "a number of more than 4300 digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def pick(mapping, key, what):
    """Look up a key; raise ValueError with those that there are if it is none; `what` says of what."""
    if key not in mapping:
        raise ValueError(f"unknown {what}: {key!r}{hint(key, mapping)}")
    return mapping[key]


def run(task, network, protocol, method, seed):
    """Look up one run in params.yaml.

    Keys are those of params.yaml, ValueError tells those that there are; the seed is that of the initial weights, the
    order of the images and their augmentation.
    """
    params = load()
    about = pick(params.tasks, task, "task")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < SEEDS:
        raise ValueError(f"seed = {seed!r}: expected a whole number from 0 to 2⁶³ − 1")
    pick(METHODS, method, "method")
    chosen = pick(params.protocols, protocol, "protocol")
    values = pick(params.train, method, "train") | chosen.train.get(method, {}) | about.train.get(method, {})
    return Run(
        scale=params.scale,
        task=task,
        network=network,
        protocol=protocol,
        method=method,
        seed=seed,
        shape=pick({name: shape for name, shape in params.networks if shape}, network, "network"),
        schedule=chosen.schedule,
        loss={name: values[name] for name in loss_parameters(method)},
        head={name: values[name] for name in heads.parameters(METHODS[method].head)},
        threads=params.threads,
        compile=params.compile,
        parent=run(task, network, "scratch", "plain", seed) if chosen.start == "plain" else None,
    )


def declared():
    """List the runs (Run) that params.yaml declares, in table order; of a recorded scale those that were recorded."""
    params = load()
    every = [
        run(group.task, group.network, group.protocol, method, seed)
        for group in params.runs
        for method in group.methods
        for seed in params.seeds
    ]
    return [run for run in every if not paths.SHOWN or run.file("metrics").exists()]


def vary(run, changes):
    """Return a run with some values of its loss, head or schedule replaced.

    Its name stays, its digest differs; ValueError if a key of `changes` is none of these, or a value is not allowed.
    """
    loss, head, schedule = dict(run.loss), dict(run.head), run.schedule.model_dump()
    for key, value in changes.items():
        place = next((part for part in (loss, head, schedule) if key in part), None)
        if place is None:
            raise ValueError(f"{run.method} has no parameter {key!r}{hint(key, [*loss, *head, *schedule])}")
        place[key] = value
    check_parameters(run.method, loss | head, run.method)
    try:
        schedule = Schedule(**schedule)
    except ValidationError as error:
        raise ValueError("\n".join(_lines(error))) from None
    return run.model_copy(update={"loss": loss, "head": head, "schedule": schedule})


def by_block():
    """Group the declared runs by the paper's known set, network, protocol and method: lists, one run for each seed."""
    tasks, groups = load().tasks, defaultdict(list)
    for run in declared():
        groups[tasks[run.task].plays, run.network, run.protocol, run.method].append(run)
    return groups


def main_block():
    """The block (paper's known set, network, protocol) of Table 3: from scratch, or that in which ICE has more runs."""
    groups, blocks = by_block(), [("CIFAR10", "wideresnet", protocol) for protocol in ("scratch", "finetune")]
    return max(blocks, key=lambda block: len(groups[*block, "ice"]))


def main_runs():
    """Runs of `main_block` by method, a list each; fine-tuned ones stand beside the plain ones that they start from."""
    groups, block = by_block(), main_block()
    found = {method: groups[*block, method] for method in METHODS}
    found["plain"] = found["plain"] or groups[*block[:2], "scratch", "plain"]
    return {method: several for method, several in found.items() if several}


def task_playing(paper_known):
    """Return name and schema.Task of the task that plays a known set of the paper, or (None, None)."""
    return next(((name, task) for name, task in load().tasks.items() if task.plays == paper_known), (None, None))


def check():
    """Read params.yaml, look up all that it declares, and write that nothing is wrong: a file of constant content."""
    declared()
    for name, own in load().own_datasets.items():
        if not (paths.ROOT / own.path).exists():
            found = f"own_datasets.{name}.path = {own.path!r} is missing"
            raise ValueError(f"{paths.relative(paths.PARAMS)}: {found}; expected an .npz or a folder of images")
    for scale in load().recorded:
        if not (path := paths.RECORDED / scale / "origin.json").exists():
            found = f"recorded = {load().recorded}: {paths.relative(path)} is missing"
            raise ValueError(f"{found}; nothing of it is recorded yet")
    write_bytes(paths.CHECKED, b"params.yaml can be used\n")


if __name__ == "__main__":
    argparse.ArgumentParser(description="Check params.yaml.").parse_args()
    with readable_errors():
        check()
