"""Reading params.yaml, and looking up the runs that it declares."""

import argparse
import hashlib
import json
from typing import ClassVar

import yaml
from pydantic import ValidationError

from icelib import heads, paths, yamls
from icelib.checks import as_number, check_parameters, hint, loss_parameters
from icelib.declaration import Params
from icelib.errors import readable_errors
from icelib.files import write_bytes
from icelib.kinds import SEEDS, Strict
from icelib.methods import GIVEN, METHODS, PAPER
from icelib.schema import DenseNetShape, Schedule, WideResNetShape


class Run(Strict):
    """One training run and all that determines its weights.

    The name ``known-network-protocol-method-seed`` is the name of its stage, checkpoint, score
    file and table row.
    """

    scale: str
    known: str
    network: str
    protocol: str
    method: str
    seed: int
    shape: WideResNetShape | DenseNetShape
    schedule: Schedule
    loss: dict[str, int | float]  # parameters of the loss, as its keywords
    head: dict[str, int | float | str]
    parent: "Run | None" = None  # whose weights a fine-tuned run starts from
    own: ClassVar[str] = (
        ""  # folder of scratch/ for the files of what params.yaml does not declare, see icelib.own_runs
    )

    @property
    def name(self):
        """``known-network-protocol-method-seed``."""
        return "-".join([self.known, self.network, self.protocol, self.method, str(self.seed)])

    @property
    def digest(self):
        """Hash of the full configuration, which names the state of an unfinished run.

        With the code of what is not the paper's: `training.code_digest` leaves it out, so that a change of it
        repeats no training of the paper's methods.
        """
        found = hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode())
        if not self.own and self.method in GIVEN - PAPER:
            for name in ("variants", "variant_heads"):
                found.update((paths.PACKAGE / f"{name}.py").read_bytes())
        return found.hexdigest()[:16]


def load(path=None):
    """Read and check params.yaml.

    Parameters
    ----------
    path : pathlib.Path, optional
        Another file of that form.

    Returns
    -------
    Params

    Raises
    ------
    ValueError
        Names the file, the key, the value found and what was expected.
    """
    path = path or paths.PARAMS
    try:
        content = yamls.parse(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; run from a checkout of the project, or set ICELIB_ROOT to one") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: bytes that are no text, no such date
        raise ValueError(f"{paths.relative(path)} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{paths.relative(path)}: expected a mapping of keys, found {type(content).__name__}")
    plain = {key: value for key, value in content.items() if key in Params.model_fields and key != "blocks"}
    blocks = {key: value for key, value in content.items() if key not in plain}
    scales = plain.get("scales")
    for name in scales if isinstance(scales, list) else []:
        if isinstance(name, str) and name not in blocks:
            raise ValueError(
                f"{paths.relative(path)}: scales names {name!r}, but there is no block {name!r}{hint(name, blocks)}"
            )
    try:
        return Params(**plain, blocks=blocks)
    except ValidationError as error:
        raise ValueError("\n".join(f"{paths.relative(path)}: {line}" for line in _lines(error))) from None


def run(scale, known, network, protocol, method, seed):
    """Look up one run in params.yaml.

    Parameters
    ----------
    scale, known, network, protocol, method : str
        Keys of params.yaml.
    seed : int or str
        Seed of the initial weights, the order of the images and their augmentation.

    Returns
    -------
    Run

    Raises
    ------
    ValueError
        If a key is unknown, with the keys that there are.
    """
    params = load()
    block = pick(params.blocks, scale, "scale")
    task = pick(block.known, known, f"{scale}.known")
    if not str(seed).isdecimal() or str(int(seed)) != str(seed):
        raise ValueError(f"seed is {seed!r}; expected a whole number ≥ 0, written without leading zeros")
    if int(seed) >= SEEDS:
        raise ValueError(f"seed is {seed!r}; expected one below 2⁶³")
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}{hint(method, METHODS)}")
    parameters = pick(block.train, method, f"{scale}.train") | task.train.get(method, {})
    schedule = pick(block.protocols, protocol, f"{scale}.protocols")
    networks = {name: shape for name, shape in block.networks if shape}
    return Run(
        scale=scale,
        known=known,
        network=network,
        protocol=protocol,
        method=method,
        seed=int(seed),
        shape=pick(networks, network, f"{scale}.networks"),
        schedule=schedule,
        loss={name: parameters[name] for name in loss_parameters(method)},
        head={name: parameters[name] for name in heads.parameters(METHODS[method].head)},
        parent=run(scale, known, network, "scratch", "plain", seed) if schedule.start == "plain" else None,
    )


def run_from_arguments(description, arguments=None):
    """Read the parts of a run's name from the command line and look the run up, see `run`."""
    parser = argparse.ArgumentParser(description=description)
    for part in ("scale", "known", "network", "protocol", "method", "seed"):
        parser.add_argument(part)
    return run(**vars(parser.parse_args(arguments)))


def declared(scale):
    """List the runs (Run) of a scale that params.yaml declares, in table order."""
    params = load()
    return [
        run(scale, known, network, "finetune" if name == "finetune" else "scratch", method, seed)
        for name, group in params.runs
        for known in group.known
        for network in group.networks
        for method in group.methods
        for seed in params.seeds
    ]


def task(scale, known):
    """Look up a task (schema.Task: known set with its outliers); raise ValueError if there is none."""
    return pick(pick(load().blocks, scale, "scale").known, known, f"{scale}.known")


def vary(run, changes):
    """Return a run with some values of its loss, head or schedule replaced.

    Parameters
    ----------
    run : Run
    changes : dict of str to float or str

    Returns
    -------
    Run
        Of the same name; its digest differs.

    Raises
    ------
    ValueError
        If a key is none of these, or a value is not allowed.
    """
    loss, head, schedule = dict(run.loss), dict(run.head), run.schedule.model_dump()
    for key, value in changes.items():
        place = next((part for part in (loss, head, schedule) if key in part), None)
        if place is None:
            raise ValueError(f"{run.method} has no parameter {key!r}{hint(key, [*loss, *head, *schedule])}")
        place[key] = value
    check_parameters(run.method, loss | head)
    return run.model_copy(update={"loss": loss, "head": head, "schedule": checked(Schedule, schedule)})


def checked(kind, values):
    """Make a part of the schema, of class `kind`; raise ValueError with a line for each value that is not right."""
    try:
        return kind(**values)
    except ValidationError as error:
        raise ValueError("\n".join(_lines(error))) from None


def pick(mapping, key, what):
    """Look up a key; raise ValueError with those that there are if it is none; `what` says of what."""
    if key not in mapping:
        raise ValueError(f"unknown {what}: {key!r}{hint(key, mapping)}")
    return mapping[key]


def _lines(error):
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"] if part != "blocks")
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


def check():
    """Read params.yaml, look up all that it declares, and write that nothing is wrong: a file of constant content.

    The pipeline's first stage, since DVC removes what a stage made before the stage's command can check anything.

    Raises
    ------
    ValueError
        As `load`, or if a task or a declared run asks for what its scale does not have.
    """
    loaded = load()
    for scale in loaded.scales:
        for known in loaded.known:
            task(scale, known)
        declared(scale)
    write_bytes(paths.CHECKED, b"params.yaml can be used\n")


if __name__ == "__main__":
    argparse.ArgumentParser(description="Check params.yaml.").parse_args()
    with readable_errors():
        check()
