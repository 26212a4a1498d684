"""The trail of a figure in ``figures/beyond-SCALE.csv``: a variant's runs with several seeds."""

import itertools

import pandas as pd

from icelib import beyond_tables, lookup, params, paths
from icelib.files import read_json
from icelib.methods import METHODS
from icelib.tracing import MEND

KEYS = ("scale", "part", "variant", "images", "metric")  # as `lookup.KEYS`


def cells():
    """Read the figures of all scales at which variants are compared, with the columns of `KEYS` and ``ours``.

    Raises
    ------
    ValueError
        If a table was not made yet, or nothing is compared.
    """
    tables = []
    for scale in params.load().beyond:
        path = paths.FIGURES / f"beyond-{scale}.csv"
        if not path.exists():
            raise ValueError(f"{paths.relative(path)} is missing; `dvc repro` makes it")
        tables.append(pd.read_csv(path))
    if not tables:
        raise ValueError("beyond in params.yaml is empty: nothing is compared")
    return pd.concat(tables, ignore_index=True)


def find(words):
    """Find the one figure that has all of some words among its keys, as `lookup.find` does.

    A variant may be named by its key or by its title, which figures and tables show.

    Raises
    ------
    ValueError
        As `cells` and `lookup.find`, or if the variant diverged, so that it has no figure.
    """
    table, words = cells(), _by_key(words)
    try:
        return lookup.find(table, KEYS, words)
    except ValueError:
        wanted, loaded = {lookup.simplified(word.split("=")[-1]) for word in words}, params.load()
        named = [name for name in loaded.variants if lookup.simplified(name) in wanted]
        for scale, name in itertools.product(loaded.beyond, named):
            path = paths.beyond(scale, name)
            if name not in set(table.variant[table.scale == scale]) and path.exists():
                if "diverged" in (result := read_json(path)):
                    what = f"{beyond_tables.what_diverged(result)}; see {paths.relative(path)}"
                    raise ValueError(f"{name} has no figures at {scale} scale: {what}") from None
        raise


def _by_key(words):
    """Put a variant's key in place of the words of its title; of several titles the one of most words."""
    given = {part for word in words for part in _parts(word)}
    fitting = {name: title for name in params.load().variants if (title := _parts(METHODS[name].title)) <= given}
    if not fitting:
        return words
    name = max(fitting, key=lambda name: len(fitting[name]))
    # the tables add "(paper)" to titles of the paper's methods
    return [f"variant={name}", *(word for word in words if not _parts(word) <= fitting[name] | {"paper"})]


def _parts(text):
    return {lookup.simplified(part.strip("(),")) for part in text.split()}


def follow(trace, cell):
    """Follow one figure to the runs that it is the mean of.

    Parameters
    ----------
    trace : tracing.Trace
        What is found is added to it.
    cell : Series or namedtuple
        A row of `cells`.
    """
    search = cell.part == "search"
    path = paths.beyond(cell.scale, cell.variant) if search else paths.confirmation(cell.scale)
    name = paths.relative(path).as_posix()
    trace.table(f"figures/beyond-{cell.scale}.csv", cell.scale)
    commit = trace.step("trained", name)
    if not path.exists():
        trace.check(False, f"{name} is missing; `dvc repro` makes it")
        return
    result = read_json(path)
    runs = result["runs"] if search else result["runs"].get(cell.variant, [])
    values = read_json(paths.beyond(cell.scale, cell.variant))["values"]
    trace.tell("values", ", ".join(f"{key} {value}" for key, value in values.items()))
    for run in runs:
        trace.tell(
            "run", f"seed {run['seed']}, digest {run['digest']}, checkpoint: SHA-256 of its tensors {run['checkpoint']}"
        )
        trace.tell("on", "{device}, {threads} threads, {precision}".format(**run["environment"]))
    for part, digest in (runs[0]["data"] if runs else {}).items():
        trace.tell("", f"{part}: SHA-256 of its tensors {digest}")
    trace.libraries({key: runs[0]["environment"][key] for key in ("python", "torch")} if runs else {}, commit)
    found = round(beyond_tables.figures(runs, cell.images)[cell.metric].mean(), 4) if runs else None
    where = f"{cell.variant}, {cell.part}, {cell.images}, {cell.metric}"
    trace.check(found == cell.ours, f"the table has {cell.ours} where {name} says {found} ({where}); {MEND}")
