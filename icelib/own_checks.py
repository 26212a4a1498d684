"""What `icelib.own` looks at before a training begins: form and values of a loss, head or score of one's own."""

import inspect
import itertools

import numpy as np
import torch

from icelib import heads, own_code
from icelib.checks import LOSS, check_parameters, check_signature, hint, loss_parameters, unique
from icelib.methods import GIVEN, METHODS

OPTIONS = ("function", "head", "score", "epochs", "scale", "seed")  # of `own.loss`
SAMPLES = 500  # of random logits or features: more than one who takes the first few is likely to take


def name_of(function, declared):
    """Return the name of a loss function.

    Parameters
    ----------
    function : callable
    declared : iterable of str
        Names of the methods that params.yaml adds.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If it is no function with a name, takes other arguments than a loss, or the name is that of another method.
    """
    if not inspect.isfunction(function) or not function.__name__.isidentifier():
        raise ValueError(f"expected a function with a name of its own, found {function!r}; call it in one (def …)")
    name = function.__name__
    check_signature(name, function, LOSS, keywords=True)
    for key in OPTIONS:
        if key in inspect.signature(function).parameters:
            raise ValueError(f"{name} has a parameter {key!r}, which is an option of own.loss; choose another name")
    if name in GIVEN:
        raise ValueError(f"{name} is a method of the project already; choose another name for the function")
    if name in declared:  # of one name there is one function: that of losses.py, which stands in the tables already
        raise ValueError(f"{name} is declared in params.yaml (own_methods); choose another name for the function")
    return name


def check_head(head):
    """Raise ValueError unless a head is a key of `heads.HEADS`, or a class whose parameters have names."""
    if isinstance(head, str):
        if head not in heads.HEADS:
            raise ValueError(f"unknown head {head!r}{hint(head, heads.HEADS)}")
    elif not (inspect.isclass(head) and issubclass(head, torch.nn.Module)):
        raise ValueError(f"head = {head!r}: expected one of {list(heads.HEADS)} or a class, a torch.nn.Module")
    else:
        signature = inspect.signature(head)
        found = [p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) for p in signature.parameters.values()]
        if len(found) < 2 or not all(found):
            raise ValueError(
                f"{head.__name__}{signature}: expected (features, classes), and further parameters by name"
            )


def candidates(name, values, usual):
    """List the combinations of parameters to train with.

    Parameters
    ----------
    name : str
        Key of `METHODS`.
    values : dict of str to float, str or list
    usual : dict of str to float or str
        Of the Gaussian head, where `values` has none; before these come the defaults of loss and head.

    Returns
    -------
    list of dict

    Raises
    ------
    ValueError
        If a value is missing, listed twice or not of the right kind, or a parameter is none of the method's.
    """
    method = METHODS[name]
    owners = (method.loss, heads.HEADS.get(method.head, method.head))
    signature = {key: p for owner in owners for key, p in inspect.signature(owner).parameters.items()}
    asked = (*loss_parameters(name), *heads.parameters(method.head))
    defaults = {key: signature[key].default for key in asked if signature[key].default is not inspect.Parameter.empty}
    usual = {key: value for key, value in usual.items() if key in heads.parameters(method.head)}
    sides = {}
    for key, value in (defaults | usual | values).items():
        sides[key] = list(value) if isinstance(value, list | tuple | range | np.ndarray) else [value]
        sides[key] = [one.item() if isinstance(one, np.generic) else one for one in sides[key]]
        for one in sides[key]:
            if isinstance(one, bool) or not isinstance(one, int | float | str):
                raise ValueError(f"{name}.{key} = {one!r}: expected a number or a word, or a list of these")
        if not sides[key]:
            raise ValueError(f"{name}.{key} = []: expected at least one value")
        unique(f"{name}.{key}", sides[key])
    found = [dict(zip(sides, chosen, strict=True)) for chosen in itertools.product(*sides.values())]
    for candidate in found:
        check_parameters(name, candidate, name)
    return found


def probe(name, values, classes):
    """Call loss, head and score of a method on random input, so that a mistake shows before a training begins.

    Parameters
    ----------
    name : str
        Key of `METHODS`.
    values : dict of str to float or str
        Of loss and head.
    classes : int
        K.

    Raises
    ------
    ValueError
        If one returns something else than it should, or the loss has no gradient.
    """
    method, generator = METHODS[name], torch.Generator().manual_seed(0)
    known, outliers = (-torch.rand(SAMPLES, classes, generator=generator) for _ in range(2))  # ≤ 0, as a Gaussian's
    labels = torch.arange(SAMPLES) % classes
    known.requires_grad_(), outliers.requires_grad_()
    parameters = {key: values[key] for key in loss_parameters(name)}
    terms = _alike(name, method.loss, lambda: method.loss(known, labels, outliers, **parameters))
    if not isinstance(terms, dict) or "cross_entropy" not in terms:  # to which 08_three_causes compares the others
        found = list(terms) if isinstance(terms, dict) else type(terms).__name__
        raise ValueError(f"{name} returned {found}; expected a dict of its terms, one of them cross_entropy")
    for key, term in terms.items():
        if not isinstance(term, torch.Tensor) or term.shape or not term.isfinite():
            told = f"of shape {tuple(term.shape)}" if isinstance(term, torch.Tensor) and term.shape else repr(term)
            raise ValueError(f"{name}: term {key!r} is {told}; expected a finite tensor of shape ()")
    total = sum(terms.values())
    if not total.requires_grad:
        raise ValueError(f"{name} has no gradient with respect to the logits; was one detached?")
    head, width = heads.HEADS.get(method.head, method.head), 8
    features = torch.rand(SAMPLES, width, generator=generator)
    parameters = {key: values[key] for key in heads.parameters(method.head)}
    logits = _alike(head.__name__, head, lambda: head(width, classes, **parameters)(features))
    if not isinstance(logits, torch.Tensor) or logits.shape != (SAMPLES, classes):
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(f"{head.__name__} gave {found} for {SAMPLES} samples; expected logits {(SAMPLES, classes)}")
    check_score(method.score, classes)


def check_score(function, classes):
    """Raise ValueError unless a function gives one finite value for each of many rows of logits of K classes."""
    if not inspect.isfunction(function):
        raise ValueError(f"expected a function of logits as score, found {function!r}")
    logits = -torch.rand(SAMPLES, classes, generator=torch.Generator().manual_seed(0))
    try:
        found = _alike(function.__name__, function, lambda: function(logits))
    except TypeError as error:
        raise ValueError(f"{function.__name__} is no function of logits alone: {error}") from error
    right = isinstance(found, torch.Tensor) and found.shape == (SAMPLES,) and not found.is_complex()
    if not right or not found.isfinite().all():
        told = tuple(found.shape) if isinstance(found, torch.Tensor) else found
        raise ValueError(
            f"{function.__name__} returned {told!r} for logits {(SAMPLES, classes)}; "
            f"expected a finite tensor of real numbers of shape ({SAMPLES},)"
        )


def _alike(name, code, call):
    """Return what `call` gives, twice the same: else the order of calls would be part of a result, or chance.

    Training starts the generators of torch from a run's seed, and none else, and a state that a function keeps
    is lost where a training is interrupted.
    """
    before, results = own_code.text(code), []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            results.append(call())
    first, second = (list(x.values()) if isinstance(x, dict) else [x] for x in results)
    pairs = [(a, b) for a, b in zip(first, second) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor)]
    same = all(a.shape == b.shape and ((a == b) | (a != a) & (b != b)).all() for a, b in pairs)  # NaN too
    if not same or own_code.text(code) != before:
        raise ValueError(
            f"{name} gives other values when it is called again, or changes something that it uses; expected no state "
            "between calls, and random numbers from torch alone (torch.rand, after torch's seed)"
        )
    return results[0]
