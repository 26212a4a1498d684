"""Trying out a loss, a head, a score or outliers of your own, beside the paper's methods.

All is measured as the pipeline measures, and written to ``scratch/own/``, never to a tracked file.
README.md tells how to make permanent what you found.
"""

import contextlib

import matplotlib.pyplot as plt
from IPython import get_ipython
from IPython.display import Markdown, display

from icelib import own_checks, own_rows, own_runs, params, plots, scores, sweeps, training
from icelib.methods import METHODS, Method
from icelib.own_rows import validation as tried
from icelib.own_scores import outliers, score

__all__ = ["loss", "outliers", "score", "tried"]
_LOADED = training.code_digest()  # of the code that this process has, whatever its files say later
_TRIED = {}  # in this session: what others left in scratch/ stays out of the pipeline's reports


def loss(function, head="gaussian", score=scores.max_likelihood, *, epochs=None, scale=None, seed=0, **values):
    """Train with a loss of your own, and show the result as a row of Table 3.

    Where parameters are lists, their combinations are trained as the candidates of a sweep, and
    `sweeps.choose` takes one by validation figures: the rule that holds for every method. An
    interrupted training goes on when the same is called again; a finished one is not repeated.

    Parameters
    ----------
    function : callable
        ``loss(known_logits, labels, outlier_logits, *, …)``, a dict of scalar terms whose sum is
        minimised, as in `icelib.losses`. Its name is the method's.
    head : str or type
        Key of `heads.HEADS`, or a class: ``Head(features, classes, **parameters)``, a module from
        features (N, d) to logits (N, K).
    score : callable
        Logits (N, K) to one value per image (N,), higher for known ones, as in `icelib.scores`.
    epochs : int, optional
        Budget; by default that of the other rows.
    scale : str, optional
        By default the first in params.yaml.
    seed : int
        ≥ 0.
    **values : float, or str for a head's, or list
        Parameters of loss and head. Those with a default may be left out, and those of the Gaussian head, which are
        ICE's then.

    Returns
    -------
    DataFrame
        Validation figures in percent, of the methods of Table 3 and of what was tried in this
        session; those of all that was ever tried are in `tried`.

    Raises
    ------
    ValueError
        If loss, head or score has another form or keeps a state, a parameter is missing or none of its own, or
        the project's files or the function's are not what this process has loaded.
    """
    if training.code_digest() != _LOADED:
        raise ValueError("the project's code was edited since it was loaded here; restart the kernel, and try again")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed = {seed!r}: expected an integer ≥ 0")
    loaded = params.load()
    scale = scale or loaded.scales[0]
    block = params.pick(loaded.blocks, scale, "scale")
    own_rows.table3(scale, [])  # what is to stand beside it is there, before a training begins
    name = own_checks.name_of(function, loaded.own_methods)
    own_checks.check_head(head)
    METHODS[name] = Method(function, head, score, True, name)
    candidates = own_checks.candidates(name, values, block.train.get("ice", {}))
    own_checks.probe(name, candidates[0], own_runs.classes(scale))
    if len(candidates) > 1:
        changes = [{key: x[key] for key in x if len({y[key] for y in candidates}) > 1} for x in candidates]
        runs = [own_runs.run(scale, name, seed, x, "sweep") for x in candidates]
        rows = [{"change": change} | sweeps.trial(run) for change, run in zip(changes, runs, strict=True)]
        chosen = sweeps.choose(rows)
        _show(own_rows.candidates(rows, chosen).to_markdown())
        candidates = [candidates[rows.index(chosen)]]
    run = own_runs.run(scale, name, seed, candidates[0], own_runs.PROTOCOL, epochs)
    with _curve() as watch:
        own_runs.finish(run, watch)
    _TRIED[run.digest] = run
    tries = [run for run in _TRIED.values() if run.scale == scale]
    _show(own_rows.table3(scale, tries))
    return own_rows.validation(scale, tries)


def _show(text):
    """Show Markdown, in a script as it is."""
    print(text) if get_ipython() is None else display(Markdown(text))


@contextlib.contextmanager
def _curve():
    """Yield what draws the training so far; in a notebook, in one place that is drawn anew."""
    if get_ipython() is None:
        yield lambda history: None
        return
    place = display(display_id=True)

    def draw(history):
        figure = plots.history(history)
        place.update(figure)
        plt.close(figure)

    yield draw
