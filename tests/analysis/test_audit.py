"""Class ratios from AUPR, the paper's equations by execution, and the lists of contradictions, choices and misprints."""

import importlib
import re

import nbformat
import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm
from sklearn.metrics import average_precision_score, roc_auc_score

from icelib import heads, losses, metrics, paper
from icelib.analysis import audit
from icelib.config import runs
from tests.conftest import SOURCE


def simulated(separation, spread, ratio, negatives=200_000):
    """Quantiles in place of draws: scores of both groups, as for a sample without chance."""
    quantiles = lambda n: norm.ppf((np.arange(n) + 0.5) / n)
    return quantiles(negatives), separation + spread * quantiles(round(ratio * negatives))


@pytest.mark.parametrize(
    "separation, spread, ratio", [(1.5, 0.8, 0.2), (2.5, 0.6, 1.0), (1.8, 0.9, 7.3), (1.0, 1.3, 0.564)]
)
def test_metrics_of_scores_give_back_their_class_ratio_in_both_conventions(separation, spread, ratio):
    negative, positive = simulated(separation, spread, ratio)
    scores, labels = np.concatenate([negative, positive]), np.repeat([0, 1], [len(negative), len(positive)])
    auroc, area = roc_auc_score(labels, scores), average_precision_score(labels, scores)
    rejected = float(np.mean(negative >= np.quantile(positive, 0.05)))
    assert audit.binormal(auroc, rejected) == pytest.approx((separation, spread), rel=5e-3)
    assert audit.implied_ratio(auroc, rejected, area) == pytest.approx(ratio, rel=0.01)
    # the same through the project's metrics, whose scores are high for known images
    found = metrics.detection_metrics(known=np.exp(-negative), outlier=np.exp(-positive))
    outlier_positive = [found[name] for name in ("auroc", "fpr95_outlier_positive", "aupr_outlier_positive")]
    assert audit.implied_ratio(*outlier_positive) == pytest.approx(ratio, rel=0.01)
    known_positive = [found[name] for name in ("auroc", "fpr95_known_positive", "aupr_known_positive")]
    wide = auroc > 0.95  # with known images as positives, the positives have the larger spread
    assert audit.implied_ratio(*known_positive, wide=wide) == pytest.approx(1 / ratio, rel=0.02)
    swapped = audit.swapped(separation, spread)
    assert audit.fpr95(*swapped) == pytest.approx(found["fpr95_known_positive"], abs=1e-3)
    least, most = audit.bounds(auroc, area)
    assert least < ratio < most


@pytest.mark.parametrize("d", [0.5, 1.5, 2.3])
def test_equal_variances_have_a_closed_form(d):
    auroc, rejected = norm.cdf(d / np.sqrt(2)), norm.cdf(norm.ppf(0.95) - d)
    assert audit.binormal(auroc, rejected) == pytest.approx((d, 1))


def test_an_auroc_above_95_percent_may_have_two_solutions_with_the_same_metrics():
    narrow, wide = audit.binormal(0.9915, 0.0385), audit.binormal(0.9915, 0.0385, wide=True)
    assert narrow[1] < 1 < wide[1]
    for separation, spread in (narrow, wide):
        assert norm.cdf(separation / np.hypot(1, spread)) == pytest.approx(0.9915)
        assert audit.fpr95(separation, spread) == pytest.approx(0.0385)


@pytest.mark.parametrize("ratio", [1e-4, 0.2, 300.0])
def test_aupr_without_skill_is_the_share_of_positives(ratio):
    assert audit.aupr(0, 1, ratio) == pytest.approx(ratio / (1 + ratio), rel=1e-9)


@pytest.mark.parametrize("d, s, r", [(2.3, 0.35, 200), (1.2, 3.0, 0.2), (3.0, 0.5, 0.01)])
def test_aupr_agrees_with_an_adaptive_rule(d, s, r):
    precision = lambda recall: r * recall / (r * recall + norm.cdf(s * norm.ppf(recall) - d))
    expected, _ = quad(precision, 0, 1, epsabs=1e-10, limit=500)
    assert audit.aupr(d, s, r) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: audit.binormal(0.9915, 0.0437), r"AUROC 0.9915 and FPR95 0.0437; expected .* at most 0.0419"),
        (lambda: audit.binormal(0.9, 0.05), "expected FPR95 above 0.1000"),
        (lambda: audit.binormal(0.9, 0.4, wide=True), "expected a second pair"),
        (lambda: audit.binormal(99.15, 4.37), "AUROC 99.15 and FPR95 4.37: expected shares between 0 and 1"),
        (lambda: audit.implied_ratio(0.9, 0.4, 98.5), "AUPR 98.5: expected a share"),
    ],
)
def test_values_that_no_two_gaussians_have_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
    audit.binormal(0.9915, 0.0418)  # just below the limit that the first message names


@pytest.mark.parametrize("power, ratio", [(0.1, 0.3), (0.3, 5.0), (0.5, 100.0)])
def test_limits_hold_for_other_distributions(power, ratio):
    """Scores with a concave ROC curve T = F^power, which is no binormal one."""
    uniform = lambda n: (np.arange(n) + 0.5) / n
    negative, positive = uniform(20_000), uniform(round(20_000 * ratio)) ** (1 / power)  # of F(x) = x, T(x) = x^power
    found = metrics.detection_metrics(known=negative, outlier=positive)
    assert found["auroc"] == pytest.approx(1 / (1 + power), abs=1e-3)
    least, most = audit.bounds(found["auroc"], found["aupr_outlier_positive"])
    assert least < ratio < most


@pytest.mark.parametrize(  # WideResNet-40-2, 2,000 outliers to 10,000 known images, as OE's authors logged them
    "auroc, fpr95, aupr", [(89.61, 44.22, 68.84), (94.17, 23.41, 75.96), (73.81, 71.46, 33.33), (98.72, 5.99, 93.84)]
)
def test_logged_metrics_of_real_detectors_give_back_their_ratio(auroc, fpr95, aupr):
    found = audit.reading(auroc, fpr95, aupr)
    assert found["ratio"] == pytest.approx(0.2, rel=0.06)
    assert found["low"] < found["ratio"] < found["high"] and found["least"] < 0.2 < found["most"]


def test_rounding_leaves_more_open_near_100_percent():
    sharp, blunt = audit.reading(88.23, 39.84, 78.32), audit.reading(97.44, 10.06, 99.99)
    assert sharp["high"] / sharp["low"] < 1.01 and blunt["high"] / blunt["low"] > 2
    # the ends are what the corners of the rounded triple imply
    assert sharp["high"] == pytest.approx(audit.implied_ratio(0.88225, 0.39835, 0.78325), rel=2e-3)
    assert np.isnan(audit.reading(99.15, 4.37, 98.53)["ratio"])


@pytest.fixture(scope="module")
def found():
    return audit.ratios()


def test_table_1_points_to_the_sets_sizes(found):
    assert len(found) == 69 and found.ratio.isna().sum() == 2
    single = found[found.auroc <= 95].groupby("outliers").ratio.median()
    near = {"iSUN": 0.8925, "Textures": 0.564, "LSUN": 1, "SVHN": 7.3257, "CIFAR100": 1, "Places365": 216.8}
    assert single.to_dict() == pytest.approx(near, rel=0.13)
    # the test splits of SVHN and Places365 are excluded without Gaussians
    limits = found.groupby("outliers").least.min()
    assert limits["SVHN"] > 26_032 / 10_000 and limits["Places365"] > 328_500 / 10_000


def test_contradictions_use_numbers_of_the_tables_alone():
    tables = [paper.table(name).select_dtypes("number") for name in ("table1", "table2", "table3")]
    printed = {f"{value:.2f}" for table in tables for value in table.to_numpy().ravel()}
    one = paper.table("table1")
    far = one[one.outliers != "CIFAR100"].groupby(["known", "network", "protocol"]).mean(numeric_only=True)
    printed |= {f"{value:.3f}" for value in far.to_numpy().ravel()}
    for line in paper.table("contradictions").itertuples():
        assert audit.check(line.arithmetic) == line.computed
        used = re.findall(r"\d+\.\d+", line.arithmetic.split(" = ")[0])
        assert set(used) <= printed, line.arithmetic


@pytest.mark.parametrize(
    "arithmetic, message",
    [
        ("1 + 1 = 3: words", "1 \\+ 1 is 2, not 3"),
        ("1 + 1", "expected numbers"),
        ("open('x') = 1: words", "expected numbers"),
        ("2 ** 9 = x", "expected numbers"),
    ],
)
def test_false_arithmetic_is_refused(arithmetic, message):
    with pytest.raises(ValueError, match=message):
        audit.check(arithmetic)


def test_choices_name_what_exists():
    found, loaded = audit.choices(), runs.load()
    assert list(found.columns) == ["place", "open", "ours", "where", "key", "why", loaded.scale]
    assert len(found) == len(found[["place", "open"]].drop_duplicates()) > 40
    assert (found[["place", "open", "ours", "where", "why"]] != "").all(axis=None)
    for line in found.itertuples():
        assert (SOURCE / line.where).is_file(), line.where
        if line.where.startswith("icelib/"):
            importlib.import_module(line.where.removesuffix(".py").replace("/", "."))


@pytest.mark.parametrize("content", ["params.yaml", "configs/paper.yaml"])
def test_choices_read_values_in_use(content, monkeypatch):
    loaded = runs.load(SOURCE / content)
    monkeypatch.setattr(runs, "load", lambda: loaded)
    found = audit.choices().drop_duplicates("key").set_index("key")[loaded.scale]
    assert found["train.ice.weight"] == str(loaded.train["ice"]["weight"])
    shares = [str(task.validation_share) for task in loaded.tasks.values()]
    assert found["tasks.*.validation_share"] == ", ".join(dict.fromkeys(shares))
    if loaded.scale == "paper":
        assert (found[found.index != ""] != "").all(), "every key names what there is"
        assert found["protocols.scratch.milestones"] == "0.5, 0.75"


def test_misprints_are_whole_and_what_they_execute_is_in_the_notebook():
    found = paper.table("misprints")
    assert list(found.columns) == ["place", "printed", "meant", "why", "executed"]
    assert (found[["place", "printed", "meant", "why"]] != "").all(axis=None)
    assert not found.duplicated(["place", "printed"]).any() and (found.printed != found.meant).all()
    notebook = nbformat.read(SOURCE / "notebooks" / "07_audit.ipynb", as_version=4)
    headings = {
        line[4:] for c in notebook.cells if c.cell_type == "markdown" for line in c.source.split("\n") if "### " in line
    }
    assert set(found.executed) - {""} == {"factor", "hinges", "posterior", "density"} <= headings


@pytest.mark.parametrize("classes", [2, 7])
def test_equation_6_has_its_factor_for_a_target_of_ones(classes):
    f = torch.linspace(-1, 2, classes, dtype=torch.float64).requires_grad_()
    known, label = torch.zeros(1, classes, dtype=torch.float64), torch.tensor([0])
    ours = losses.outlier_exposure(known, label, f[None], weight=1.0)["uniform"]
    (gradient,) = torch.autograd.grad(ours, f)
    (of_ones,) = torch.autograd.grad(-f.log_softmax(0).sum(), f)
    torch.testing.assert_close(gradient, f.softmax(0).detach() - 1 / classes)
    torch.testing.assert_close(of_ones, classes * gradient)


def test_equation_5_as_printed_falls_for_ever():
    known, outlier = torch.linspace(-2, 3, 24, dtype=torch.float64).sin().view(2, 4, 3)
    label = torch.arange(4) % 3
    printed = lambda t: float((outlier - t).logsumexp(1).mean() - (known + t).logsumexp(1).mean())
    assert printed(1000) == pytest.approx(printed(0) - 2000)
    hinged = losses.energy(known + 1000, label, outlier - 1000, weight=0.1, margin_known=-23.0, margin_outlier=-5.0)
    assert hinged["energy_known"] == hinged["energy_outlier"] == 0
    torch.testing.assert_close(hinged["cross_entropy"], losses.cross_entropy(known, label)["cross_entropy"])


@pytest.mark.parametrize("factor, agrees", [(1.0, False), (2.0, True)])
def test_softmax_of_equation_11_is_the_posterior_for_twice_the_covariance(factor, agrees):
    covariance, means = np.array([[1.0, 0.6], [0.6, 2.0]]), np.array([[1.0, 0.0], [-1.0, 0.5], [0.3, 2.0]])
    z = np.array([[0.0, 0.0], [0.5, 1.0], [2.0, -1.0]])
    density = np.stack([multivariate_normal(m, covariance).pdf(z) for m in means], 1)
    posterior = density / density.sum(1, keepdims=True)
    head = heads.GaussianHead(2, 3).double()
    L = torch.linalg.cholesky(torch.from_numpy(factor * covariance))
    with torch.no_grad():
        head.means.copy_(torch.from_numpy(means))
        head.log_diagonal.copy_(L.diagonal().log())
        head.lower.copy_(L.tril(-1))
        found = head(torch.from_numpy(z)).softmax(1).numpy()
    assert np.allclose(found, posterior, atol=1e-9) == agrees
    # eq. 0.9 as printed is no probability, with exponentials it is the posterior
    linear = z @ np.linalg.solve(covariance, means.T) - 0.5 * np.diag(means @ np.linalg.solve(covariance, means.T))
    assert (linear / linear.sum(1, keepdims=True)).min() < 0
    assert np.exp(linear) / np.exp(linear).sum(1, keepdims=True) == pytest.approx(posterior)


def test_the_likelihood_of_equation_11_does_not_integrate_to_one():
    head = heads.GaussianHead(2, 1, distance=1.0).double()
    grid = torch.linspace(-12, 12, 401, dtype=torch.float64)
    z = torch.cartesian_prod(grid, grid)  # (401², 2)
    with torch.no_grad():
        total = float(head(z).exp().sum() * (grid[1] - grid[0]) ** 2)
        determinant = float(torch.linalg.det(head.L))
    assert total == pytest.approx(np.pi * determinant, rel=1e-6) and abs(total - 1) > 0.5
