"""What dvc.lock says: which file was made from which, with what parameters."""

from typing import NamedTuple

import yaml

from icelib import paths

LOCK, PIPELINE = "dvc.lock", "dvc.yaml"


class Stage(NamedTuple):
    """One executed stage.

    Attributes
    ----------
    name : str
    deps, outs : dict of str to str
        MD5 of what it read and made, by path; of a folder it ends in ``.dir``.
    params : dict of str to object
        Values of params.yaml, by dotted key.
    """

    name: str
    deps: dict
    outs: dict
    params: dict


def read():
    """Read the stages of dvc.lock that dvc.yaml still has.

    Returns
    -------
    dict of str to Stage

    Raises
    ------
    ValueError
        If one of the files is missing or no pipeline's; names it.
    """
    recorded, kinds = _stages(LOCK), _stages(PIPELINE)
    return {name: _stage(name, entry) for name, entry in recorded.items() if name.split("@")[0] in kinds}


def maker(stages, path):
    """Return the stage that made a file (path as dvc.lock has it), or None."""
    return next((stage for stage in stages.values() if path in stage.outs), None)


def changed_params(stage, content):
    """List the parameters whose values are no longer those that a stage was run with.

    Parameters
    ----------
    stage : Stage
    content : dict
        params.yaml as it is.

    Returns
    -------
    list of (str, object, object)
        Dotted key, the value of then and that of now; None where there is none.
    """
    found = []
    for key, then in stage.params.items():
        now = content
        for part in key.split("."):
            now = now.get(part) if isinstance(now, dict) else None
        then, now = _leaves(key, then), _leaves(key, now)
        found += [(leaf, then.get(leaf), now.get(leaf)) for leaf in then | now if then.get(leaf) != now.get(leaf)]
    return found


def _leaves(key, value):
    if not isinstance(value, dict):
        return {} if value is None else {key: value}
    return {leaf: x for name, inner in value.items() for leaf, x in _leaves(f"{key}.{name}", inner).items()}


def _stages(name):
    try:
        # the parser in C, where PyYAML has it: the other one takes seconds for dvc.lock
        content = yaml.load((paths.ROOT / name).read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return content["stages"]
    except FileNotFoundError:
        raise ValueError(f"{name} is missing; `dvc repro` makes the results and records them there") from None
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise ValueError(f"{name} is not readable as a pipeline's: {error}") from None


def _stage(name, entry):
    deps, outs = ({file["path"]: file.get("md5") for file in entry.get(key, [])} for key in ("deps", "outs"))
    return Stage(name, deps, outs, entry.get("params", {}).get("params.yaml", {}))
