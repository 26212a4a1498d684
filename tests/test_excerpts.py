"""Excerpts: what a training depends on of its method's code, and no more."""

from math import exp

import pytest
import torch
from scipy.special import logsumexp
from torch import exp as tensor_exp
from torch.nn.functional import relu

from icelib import excerpts, losses, own_code, params, paths
from icelib.methods import METHODS


@pytest.mark.parametrize("name", METHODS)
def test_an_excerpt_computes_what_the_method_does(name):
    """It runs alone, with the same loss: nothing that is used was left out."""
    method, loss, score = METHODS[name], {}, {}
    exec(excerpts._part(method.loss), loss)
    exec(excerpts._part(method.score), score)
    first, *pieces = excerpts.method(name).split("\n\n", 1)
    assert first == f"head, outliers = {method.head!r}, {method.outliers!r}" and "def " in pieces[0]
    generator = torch.Generator().manual_seed(0)
    known, outliers = (-torch.rand(6, 3, generator=generator) for _ in range(2))
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    values = {key: 0.5 for key in params.loss_parameters(name)}
    expected = method.loss(known, labels, outliers, **values)
    assert loss[method.loss.__name__](known, labels, outliers, **values) == expected
    assert torch.equal(score[method.score.__name__](known), method.score(known))


def test_other_losses_comments_and_docstrings_are_no_part_of_it():
    text = excerpts.method("ice")
    assert "def ice(" in text and "def ice_id(" in text and "def ice_ood(" in text and "CLOSEST = " in text
    assert "def energy" not in text and "eq. 0.13" not in text and "def max_softmax" not in text


def test_the_code_of_a_user_comes_with_what_it_uses():
    def outer():
        factor = 3

        def inner(x):
            return losses.ice_ood(x) * factor + helper(x)

        return inner

    text = own_code.text(outer())
    assert "losses.ice_ood(x) * factor" in text and "factor = 3" in text and "return x.sum() * LIMIT" in text
    assert "LIMIT = 0.25" in text and "def ice_ood" not in text
    with pytest.raises(
        ValueError, match=r"builtins\.made has no source: .*; define it in a notebook's cell that is no magic"
    ):
        namespace = {"__name__": "builtins"}
        exec("def made(x):\n    return x", namespace)
        own_code.text(namespace["made"])


LIMIT = 0.25


def helper(x):
    return x.sum() * LIMIT


def test_what_packages_define_is_no_part_of_a_users_code_but_what_they_made_is():
    text = own_code.text(with_packages)
    assert text.count("def ") == 1 and "SHIFT = tensor torch.float32 (2,)" in text
    assert " at 0x" not in text, "an address would make each session's hash another"


def test_a_helper_of_another_cell_is_part_of_a_users_code(monkeypatch):
    monkeypatch.setattr(helper, "__module__", "__main__")  # of which a kernel has no file
    assert "return x.sum() * LIMIT" in own_code.text(uses_helper)


def uses_helper(x):
    return helper(x)


SHIFT = torch.tensor([0.5, 1.5])


def with_packages(x):
    return exp(logsumexp(x.numpy(), axis=1)) + relu(x).sum() + tensor_exp(SHIFT).sum()


def test_each_scale_gets_its_sweeps_and_scores(inside):
    values = inside.params
    values["tiny"]["detectors"]["own"] = ["max_logit"]
    inside.params = values
    excerpts.write("tiny")
    folder = paths.NOTEBOOKS / "code" / "methods" / "tiny"
    assert {path.stem for path in folder.iterdir()} == {*METHODS, "sweep-ice-weight", "own-scores"}
    assert (folder / "sweep-ice-weight.py").read_text() == (folder / "ice.py").read_text()
    assert "def max_logit" in (folder / "own-scores.py").read_text()
