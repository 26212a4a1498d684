"""Trying out a loss, a head, a score or outliers of your own, beside the paper's methods.

All is measured as the pipeline measures, and written to ``scratch/own/``, never to a tracked file.
README.md tells how to make permanent what you found.
"""

import contextlib
import inspect
import itertools

import matplotlib.pyplot as plt
import torch
from IPython import get_ipython
from IPython.display import Markdown, display

from icelib import heads, own_rows, own_runs, params, plots, scores, sweeps
from icelib.checks import check_parameters, hint, loss_parameters
from icelib.methods import GIVEN, METHODS, Method
from icelib.own_rows import validation as tried
from icelib.own_scores import check_score, outliers, score

__all__ = ["loss", "outliers", "score", "tried"]
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
    **values : float, str or list
        Parameters of loss and head; those of the Gaussian head may be left out and are ICE's then.

    Returns
    -------
    DataFrame
        Validation figures in percent, of the methods of Table 3 and of what was tried in this
        session; those of all that was ever tried are in `tried`.

    Raises
    ------
    ValueError
        If the function has another form, or a parameter is missing or none of its own.
    """
    loaded = params.load()
    scale = scale or loaded.scales[0]
    block = params.pick(loaded.blocks, scale, "scale")
    own_rows.table3(scale, [])  # what is to stand beside it is there, before a training begins
    name = _name(function)
    if isinstance(head, str) and head not in heads.HEADS:
        raise ValueError(f"unknown head {head!r}{hint(head, heads.HEADS)}")
    METHODS[name] = Method(function, head, score, True, name)
    usual = {key: block.train["ice"][key] for key in heads.parameters(head) if key in block.train.get("ice", {})}
    sides = {key: value if isinstance(value, list) else [value] for key, value in (usual | values).items()}
    candidates = [dict(zip(sides, chosen, strict=True)) for chosen in itertools.product(*sides.values())]
    for candidate in candidates:
        check_parameters(name, candidate)
    _probe(METHODS[name], {key: candidates[0][key] for key in loss_parameters(name)})
    if len(candidates) > 1:
        changes = [{key: x[key] for key in sides if len(sides[key]) > 1} for x in candidates]
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


def _name(function):
    if not inspect.isfunction(function) or not function.__name__.isidentifier():
        raise ValueError(f"expected a function with a name of its own, found {function!r}")
    if function.__name__ in GIVEN:
        raise ValueError(
            f"{function.__name__} is a method of the project already; choose another name for the function"
        )
    return function.__name__


def _probe(method, values):
    """Call loss and score on a few random logits, so that a mistake shows before a training begins."""
    generator = torch.Generator().manual_seed(0)
    known, outliers = (-torch.rand(4, 3, generator=generator) for _ in range(2))  # ≤ 0, as the Gaussian head's
    known.requires_grad_()
    name = method.loss.__name__
    terms = method.loss(known, torch.tensor([0, 1, 2, 0]), outliers.requires_grad_(), **values)
    if not isinstance(terms, dict) or "cross_entropy" not in terms:  # to which 08_three_causes compares the others
        found = list(terms) if isinstance(terms, dict) else type(terms).__name__
        raise ValueError(f"{name} returned {found}; expected a dict of its terms, one of them cross_entropy")
    for key, term in terms.items():
        if not isinstance(term, torch.Tensor) or term.shape or not term.isfinite():
            raise ValueError(f"{name}: term {key!r} is {term!r}; expected a finite tensor of shape ()")
    total = sum(terms.values())
    if not total.requires_grad:
        raise ValueError(f"{name} has no gradient with respect to the logits; was one detached?")
    check_score(method.score)


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
