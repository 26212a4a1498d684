"""The toy: its equations against automatic differentiation and by hand, its descent, and its notebook's sliders."""

import math

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from icelib import losses
from icelib.analysis import toy
from icelib.util import errors
from tests.conftest import SOURCE

METHODS = ["OE", "Energy", "ICE"]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    plt.close("all")


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def close(found, expected, atol=1e-12):
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def gradient(loss, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(loss(x).sum(), x)[0]


def skewed():
    """A problem whose classes lie anywhere."""
    return toy.Problem(tensor([1, 0.5], [3, -1]), tensor([2, 0.6], [0.6, 0.5]))


def points(*shape):
    return 2 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


# --- the problem -------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", [toy.problem(), skewed()])
def test_the_weights_of_eq_0_9_give_the_exact_posterior(problem):
    z = points(50, 2)
    densities = np.stack([multivariate_normal(mean, problem.covariance).pdf(z) for mean in problem.means], 1)
    posterior = torch.from_numpy(densities / densities.sum(1, keepdims=True))
    close(problem.logits(z).softmax(1), posterior)
    close(problem.log_likelihood(z), torch.from_numpy(np.log(densities)))


def test_weights_by_hand():
    problem = toy.Problem(tensor([2, 0], [0, 4]), tensor([2, 0], [0, 4]))
    weights, biases = problem.linear()
    close(weights, tensor([1, 0], [0, 1]))
    close(biases, tensor(-1, -2))
    close(problem.distance(tensor([2, 2], [0, 0])), tensor([1, math.sqrt(3)], [math.sqrt(2), 2]))


@pytest.mark.parametrize(
    "covariance", [[[1, 2], [2, 1]], [[1, 1], [1, 1]], [[1, 0.5], [0.4, 1]], [[math.nan, 0], [0, 1]]]
)
def test_a_covariance_that_is_none_is_named(covariance):
    with pytest.raises(ValueError, match=r"covariance \[\[.*expected a symmetric, positive definite matrix"):
        toy.Problem(tensor([0, 0], [1, 0]), tensor(*covariance))


def test_a_correlation_of_one_is_no_problem_to_draw():
    with pytest.raises(ValueError, match="positive definite"):
        toy.problem(correlation=1.0)


def test_samples_follow_the_problem():
    known, labels, outlier = toy.samples(skewed(), (7, -3), spread=0.5, count=5000)
    close(torch.cov(known[labels == 1].T), skewed().covariance, atol=0.1)
    close(known[labels == 0].mean(0), skewed().means[0], atol=0.05)
    close(outlier.mean(0), tensor(7, -3), atol=0.02)
    close(outlier.std(0), tensor(0.5, 0.5), atol=0.02)
    assert len(known) == len(outlier) == 10000, "as many of both, so that overlap uses all"


# --- false likelihood --------------------------------------------------------------------------


@pytest.mark.parametrize("problem", [toy.problem(), skewed(), toy.problem(2, 0.7, -0.8)])
def test_logit_and_likelihood_disagree_on_a_and_b(problem):
    found = toy.examples(problem)
    close(problem.distance(found)[:, 0], tensor(1.5, 6))
    (a, b), (p_a, p_b) = problem.logits(found)[:, 0], problem.log_likelihood(found)[:, 0]
    assert b > a and p_b < p_a
    towards, along = found - problem.means[0]
    close(towards / towards.norm(), (d := problem.means[1] - problem.means[0]) / d.norm())
    close(along / along.norm(), (w := problem.linear()[0][0]) / w.norm())


def test_a_and_b_by_hand():
    problem = toy.Problem(tensor([-2, 0], [2, 0]), tensor([1, 0], [0, 1]))
    close(toy.examples(problem), tensor([-0.5, 0], [-8, 0]))


@pytest.mark.parametrize("means", [([1, 2], [1, 2]), ([0, 0], [1, 2])])
def test_examples_need_two_means_and_a_direction(means):
    with pytest.raises(ValueError, match="expected two different ones, the first not the origin"):
        toy.examples(toy.Problem(tensor(*means), tensor([1, 0], [0, 1])))


def test_examples_refuse_where_logit_and_likelihood_agree():
    problem = toy.Problem(tensor([0.01, 1], [0.03, 3]), tensor([0.01, 0], [0, 1]))
    with pytest.raises(ValueError, match="expected more at B"):
        toy.examples(problem)


def test_only_the_logit_errs_beyond_a_class():
    orders = toy.orders(toy.problem())
    beyond, between, beside = orders.index
    assert orders.score_wrong[beyond] > 99 and orders.likelihood_wrong[beyond] == 0
    assert orders.score_wrong[beside] < 20 and orders.likelihood_wrong[between] > orders.score_wrong[between]
    logits = toy.problem().logits(toy.examples(toy.problem()))[:, 0]
    close(logits, tensor(-0.9, 14.9), atol=0.05)


# --- the equations -----------------------------------------------------------------------------


def test_gradients_by_hand():
    logits, weights = tensor([0, math.log(3)]), tensor([1, 0], [0, 2])  # softmax (1/4, 3/4)
    close(toy.eq_0_2(logits, torch.tensor([0])), tensor([-0.75, 0.75]))
    close(toy.eq_0_6(logits), tensor([-0.25, 0.25]))
    close(toy.eq_0_6(logits, total=2), tensor([-0.5, 0.5]))
    close(toy.eq_0_7(logits), tensor([0.25, 0.75]))
    close(toy.eq_0_8(logits), tensor([-0.25, -0.75]))
    close(toy.eq_0_10(logits, weights), tensor([-0.25, 0.5]))
    close(toy.eq_0_10(logits, weights, total=2), tensor([-0.5, 1]))  # as the paper prints it
    z, means = tensor([1, 0]), tensor([0, 0], [5, 5])
    close(toy.eq_0_13(z, means, tensor([1, 0], [0, 1])), tensor([-2 / (math.e - 1), 0]))
    close(toy.eq_0_14(z, torch.tensor([0]), means, tensor([2, 0], [0, 2])), tensor([1, 0]))


@pytest.mark.parametrize("classes", [2, 5])
def test_gradients_by_logits_against_autograd(classes):
    f, labels = points(40, classes), torch.arange(40) % classes
    uniform = lambda f: losses.outlier_exposure(f, labels, f, weight=1)["uniform"] * len(f)  # a normalised target
    close(gradient(uniform, f), toy.eq_0_6(f))
    close(gradient(lambda f: -f.log_softmax(1), f), toy.eq_0_6(f, total=classes))  # a target of 1 per class
    close(gradient(lambda f: f.logsumexp(1), f), toy.eq_0_7(f))
    close(gradient(lambda f: -f.logsumexp(1), f), toy.eq_0_8(f))
    close(gradient(lambda f: losses.cross_entropy(f, labels)["cross_entropy"] * len(f), f), toy.eq_0_2(f, labels))


def test_gradients_by_features_against_autograd():
    z, weights, biases, labels = points(40, 3), points(5, 3), points(5), torch.arange(40) % 5
    f = lambda z: z @ weights.T + biases
    for total in (1, 5):
        close(gradient(lambda z, total=total: -total / 5 * f(z).log_softmax(1), z), toy.eq_0_10(f(z), weights, total))
    means, factor = 3 * points(5, 3), torch.tensor([[1, 0, 0], [0.5, 2, 0], [-1, 0.3, 1.5]]).double()
    whitened = lambda z: torch.linalg.solve_triangular(factor, (z[:, None] - means).mT, upper=False)  # (N, 3, 5)
    h = lambda z: -whitened(z).square().sum(1)
    close(gradient(lambda z: losses.ice_ood(h(z)), z), toy.eq_0_13(z, means, factor @ factor.T))
    close(gradient(lambda z: losses.ice_id(h(z), labels), z), toy.eq_0_14(z, labels, means, factor @ factor.T))


def test_oe_and_energy_have_one_field_only_where_the_origin_is_in_the_middle():
    for problem, same in ((toy.problem(), True), (skewed(), False)):
        weights, f = problem.linear()[0], problem.logits(points(20, 2))
        difference = toy.eq_0_7(f) @ weights - toy.eq_0_10(f, weights)
        close(difference, weights.mean(0).expand(20, 2))
        assert torch.allclose(weights.mean(0), torch.zeros(2).double()) is same


def test_energy_is_eq_0_5():
    found = toy.energy(tensor([0, math.log(3)]), torch.tensor([0]), tensor([0, 0]), weight=0.5)
    assert found["energy"].item() == pytest.approx(0.5 * (math.log(2) - math.log(4)))
    assert found["cross_entropy"].item() == pytest.approx(math.log(4))


def test_fields_point_where_the_prose_says():
    problem, z = toy.problem(), points(200, 2)
    fields = list(toy.fields(problem).values())
    cross_entropy, energy_known, ice_known, oe, energy_outlier, ice_outlier = (field(z) for field in fields)
    across, gap = (problem.linear()[0][0] - problem.linear()[0][1]), problem.logits(z).diff(dim=1)[:, 0]  # f_2 − f_1
    assert (cross_entropy @ across >= 0).all(), "towards class 1"
    assert ((oe @ across) * gap >= 0).all() and ((energy_outlier @ across) * gap >= 0).all(), "towards the middle"
    assert ((energy_known @ across) * gap <= 0).all(), "outwards"
    nearest = problem.means[problem.distance(z).argmin(1)]
    assert ((ice_outlier * (z - nearest)).sum(1) > 0).all(), "away from the nearest mean"
    close(ice_known @ problem.covariance, problem.means[0] - z)


def test_only_terms_that_contradict_raise_a_logit_of_another_class():
    problem = toy.problem()
    line = problem.means[0] + torch.linspace(-0.7, 1.72, 100)[:, None].double() * (problem.means[1] - problem.means[0])
    found = toy.by_logit(problem, line)
    raised = {method: {kind: bool((d < -1e-9).any()) for kind, d in kinds.items()} for method, kinds in found.items()}
    assert raised["OE"] == {"outlier, 1": True, "outlier, 2": True}
    assert raised["Energy"] == {"outlier, 1": False, "outlier, 2": False, "known, 2": True}
    assert raised["ICE"] == {"outlier, 1": False, "outlier, 2": False, "known, 2": False}


def test_derivatives_of_ice_by_logit_against_autograd():
    problem, z = skewed(), points(40, 2)
    h = -problem.distance(z).square() / 2
    expected = gradient(losses.ice_ood, h)
    found = toy.by_logit(problem, z)["ICE"]
    close(torch.stack([found["outlier, 1"], found["outlier, 2"]], 1), expected, atol=1e-9)


# --- descent -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("problem", [toy.problem(), skewed()])
def test_descent_starts_at_the_weights_of_eq_0_9(problem, method):
    drawn = toy.samples(problem, (0, 0), count=5)
    path = toy.descend(problem, method, drawn, 0.1, steps=1)
    for found, expected in zip((path.weights[0], path.biases[0]), problem.linear()):
        close(found, expected)
    close(path.known[0], drawn[0])
    close(toy.head(problem, method)(drawn[2]).softmax(1), problem.logits(drawn[2]).softmax(1))


def test_ice_starts_with_twice_the_covariance():
    head = toy.head(skewed(), "ICE")
    close((head.L @ head.L.T).detach(), 2 * skewed().covariance)
    close(head(points(20, 2)).detach(), -skewed().distance(points(20, 2)).square() / 2)


@pytest.mark.parametrize("method", METHODS)
def test_one_step_is_the_one_computed_by_hand(method):
    problem, weight, rate, head_rate = skewed(), 0.3, 0.2, 0.05
    known, labels, outlier = drawn = toy.samples(problem, (0, 1), count=20)
    path = toy.descend(problem, method, drawn, weight, steps=1, rate=rate, head_rate=head_rate)
    w, b = problem.linear()
    f, f_out, ice = problem.logits(known), problem.logits(outlier), (problem.means, 2 * problem.covariance)
    by_known = {"OE": 0 * known, "Energy": toy.eq_0_8(f) @ w, "ICE": toy.eq_0_14(known, labels, *ice)}[method]
    by_outlier = {"OE": toy.eq_0_10(f_out, w), "Energy": toy.eq_0_7(f_out) @ w, "ICE": toy.eq_0_13(outlier, *ice)}[
        method
    ]
    close(path.known[1], known - rate * (toy.eq_0_2(f, labels) @ w + weight * by_known))
    close(path.outlier[1], outlier - rate * weight * by_outlier)
    if method != "ICE":  # the head's gradient is that of the means over known samples and outliers
        left = toy.eq_0_2(f, labels) + weight * (toy.eq_0_8(f) if method == "Energy" else 0)
        right = weight * (toy.eq_0_7(f_out) if method == "Energy" else toy.eq_0_6(f_out))
        close(path.weights[1], w - head_rate * (left.T @ known / len(known) + right.T @ outlier / len(outlier)))
        close(path.biases[1], b - head_rate * (left.mean(0) + right.mean(0)))


def test_oe_moves_outliers_to_the_separating_line_through_the_class():
    problem = toy.problem()
    path = toy.descend(problem, "OE", toy.samples(problem), 0.5)
    gap = lambda step: (path.outlier[step] @ path.weights[step].T + path.biases[step]).diff(dim=1).abs()
    assert gap(0).min() > 10 and gap(-1).max() < 0.1
    found = toy.mixed(path)
    assert found["overlap"][0] < 0.05 and found["overlap"].max() > 0.3 and found["overlap"][-1] < 0.05
    assert found["centrality"][0] > 2 and found["centrality"][-1] < 1


@pytest.mark.parametrize("start", [(-2, 0), (-1, 0.5), (0, 0), (3, 2), toy.START])
def test_ice_moves_every_outlier_away_from_the_nearest_mean(start):
    problem = toy.problem()
    path = toy.descend(problem, "ICE", toy.samples(problem, start), 0.1, steps=1, head_rate=0)
    before, after = (problem.distance(z) for z in path.outlier)  # (M, 2)
    nearest = before.argmin(1, keepdim=True)
    assert (after.gather(1, nearest) > before.gather(1, nearest)).all()


def test_the_push_of_ice_is_gone_a_few_sigma_from_the_class():
    problem = toy.problem()
    found = toy.mixed(toy.descend(problem, "ICE", toy.samples(problem), 0.1), every=60)
    assert found["overlap"].max() < 0.05 and abs(found["distance"][-1] / found["distance"][0] - 1) < 0.05


def test_descent_that_diverges_says_so():
    with pytest.raises(errors.DivergedError, match=r"Energy with λ = 0.1 diverged at step \d+"):
        toy.descend(toy.problem(), "Energy", toy.samples(toy.problem()), 0.1, head_rate=1e9)


def test_measures_of_a_path_by_hand():
    known = torch.stack([tensor([0, 0], [6, 0]).repeat(20, 1)] * 3)  # standing still; classes at (0, 0) and (6, 0)
    outlier = torch.stack([tensor([x, 4]).repeat(40, 1) for x in (3, 9, 0)])
    path = toy.Path(known, torch.arange(40) % 2, outlier, None, None)
    found = toy.mixed(path, every=2)
    assert found["distance"] == pytest.approx([5, 4]) and found["centrality"] == pytest.approx([4 / 3, 5 / 3])
    assert found["overlap"].tolist() == [0, 0]


def test_mixing_depends_on_where_outliers_start(monkeypatch):
    monkeypatch.setattr(toy, "GRID", (np.array([-6.0, 0.0, 5.0]), np.array([4.5, 1.5])))
    found = toy.starts(toy.problem(), every=10)
    assert (found["OE"]["rise"] > toy.MIXED).tolist() == [[False, False, False], [True, False, False]]
    assert (found["ICE"]["rise"] < toy.MIXED).all()
    assert found["ICE"]["away"].shape == (2, 3) and found["OE"]["away"][1, 0] < 0


def test_mixing_by_energy_depends_on_the_origin():
    found = toy.origins(toy.problem(), centres=((0, 0), (3, 0)))
    assert list(found.index) == ["(0, 0)", "(3, 0)"] and list(found) == METHODS
    assert (found.OE > 0.3).all() and found.Energy.iloc[0] > 0.3 > 0.1 > found.Energy.iloc[1]
    close(torch.tensor(found.ICE.diff().iloc[1]), torch.tensor(0.0).double(), atol=0.01)


# --- the notebook's sliders --------------------------------------------------------------------

RANGES = {"correlation": ("ρ", 0.4, -0.8, 0.8, 0.1), "weight": ("λ", 0.5, 0, 1, 0.05)}
DEFAULTS = {"correlation": 0.4, "weight": 0.5}


@pytest.fixture
def sliders():
    """The function of the notebook, what it drew, in order, and a function that draws."""
    notebook, calls, space = nbformat.read(SOURCE / "notebooks" / "01_toy.ipynb", as_version=4), [], {}
    (cell,) = [cell.source for cell in notebook.cells if cell.source.startswith("def sliders(")]
    imports = "import os\nimport matplotlib.pyplot as plt\nfrom IPython.display import display\n"
    exec(imports + cell.partition("\n\n\n")[0], space)

    def draw(**settings):
        calls.append(settings)
        return plt.figure()

    return space["sliders"], calls, draw


def test_a_report_has_the_picture_of_the_defaults_without_widgets(sliders, monkeypatch, capsys):
    move, calls, draw = sliders
    monkeypatch.setenv("ICELIB_REPORT", "1")
    assert move(draw, **RANGES) is None
    assert calls == [DEFAULTS] and capsys.readouterr().out.startswith("Figure(")


def test_a_person_moves_sliders(sliders, monkeypatch):
    move, calls, draw = sliders
    monkeypatch.delenv("ICELIB_REPORT", raising=False)
    box = move(draw, **RANGES)
    assert calls == [DEFAULTS]
    correlation, weight = box.children[0].children
    assert (correlation.description, weight.description) == ("ρ", "λ") and not correlation.continuous_update
    weight.value = 0.7
    correlation.value = 3.0  # beyond what the slider reaches
    assert calls[1:] == [DEFAULTS | {"weight": 0.7}, {"correlation": 0.8, "weight": 0.7}]
    assert not plt.get_fignums(), "figures on which nobody looks any more are closed"
