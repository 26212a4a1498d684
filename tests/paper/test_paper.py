"""The paper's numbers as transcribed: complete, and added up again where they can be."""

import re

import numpy as np
import pytest

from icelib.paper import NAMES, table

METHODS = ("oe", "energy", "ice")
DETECTION = ("aupr", "auroc", "fpr95")
CELLS = [f"{metric}_{method}" for metric in DETECTION for method in METHODS]
BLOCK = ["known", "network", "protocol"]


@pytest.fixture(scope="module")
def paper():
    return {name: table(name) for name in ("table1", "table2", "table3", "contradictions")}


def far_means(paper):
    cells = paper["table1"]
    return cells[cells.outliers != "CIFAR100"].groupby(BLOCK).mean(numeric_only=True)


def better(metric, values):
    return -values if metric == "fpr95" else values


def row(table, **keys):
    found = table
    for key, value in keys.items():
        found = found[found[key] == value]
    (only,) = found.itertuples()
    return only


def test_a_table_that_there_is_not_is_named():
    with pytest.raises(ValueError, match="unknown table of the paper: 'table4'; expected one of table1"):
        table("table4")
    assert all(len(table(name)) for name in NAMES)


def test_tables_are_transcribed_whole(paper):
    assert paper["table1"].groupby(BLOCK).size().tolist() == [6, 6, 6, 5]
    sums = paper["table1"][CELLS].sum()
    assert sums.round(2).tolist() == [2216.05, 2223.11, 2231.12, 2207.34, 2213.99, 2218.89, 356.64, 338.66, 338.86]
    assert paper["table2"].groupby("known").size().to_dict() == {"CIFAR10": 9, "CIFAR100": 6}
    sums = paper["table2"][[*DETECTION, "accuracy"]].sum()
    assert sums.round(2).tolist() == [1446.5, 1373.81, 473.48, 1315.19]
    assert len(paper["table3"]) == 5
    assert paper["table3"][[*DETECTION, "accuracy"]].sum().round(2).tolist() == [481.26, 470.45, 51.52, 470.71]


def test_each_row_of_table_2_is_a_mean_of_table_1_but_for_the_known_exceptions(paper):
    means, exceptions = far_means(paper), []
    trained = paper["table2"][paper["table2"].protocol != "plain"]
    for line in trained.itertuples():
        for metric in DETECTION:
            stated = getattr(line, metric)
            computed = means.loc[(line.known, "wideresnet", line.protocol), f"{metric}_{line.row.lower()}"]
            if abs(stated - computed) > 0.01:  # the paper cuts most third digits off, and rounds some
                exceptions.append((line.known, line.row, line.protocol, metric, stated, round(computed, 3)))
    assert len(trained) == 9
    assert exceptions == [("CIFAR10", "Energy", "scratch", "fpr95", 4.12, 3.012)]
    listed = row(paper["contradictions"], place="Tables 2 and 3")
    assert (float(listed.stated), listed.computed) == (4.12, 3.012)


@pytest.mark.parametrize("name, model", [("Energy", "WRN"), ("ICE", "WRN(G)")])
def test_rows_that_tables_2_and_3_share_agree(paper, name, model):
    second = row(paper["table2"], known="CIFAR10", row=name, protocol="scratch")
    third = row(paper["table3"], row=name, model=model)
    assert [getattr(second, x) for x in (*DETECTION, "accuracy")] == [
        getattr(third, x) for x in (*DETECTION, "accuracy")
    ]


def test_improvements_that_the_text_quotes_do_follow_from_the_tables(paper):
    hardest = paper["table1"][(paper["table1"].outliers == "CIFAR100") & (paper["table1"].network == "wideresnet")]
    scratch, finetune = row(hardest, protocol="scratch"), row(hardest, protocol="finetune")
    gain = lambda line, metric, baseline: better(
        metric, getattr(line, f"{metric}_ice") - getattr(line, f"{metric}_{baseline}")
    )
    assert min(gain(scratch, "fpr95", name) for name in ("oe", "energy")) == pytest.approx(3.79)
    assert [gain(finetune, metric, "oe") for metric in DETECTION] == pytest.approx([2.37, 1.86, 7.19])
    plain, ice = (
        row(paper["table2"], known="CIFAR10", row=name, protocol=protocol)
        for name, protocol in [("MSP", "plain"), ("ICE", "scratch")]
    )
    assert (plain.accuracy, ice.accuracy) == (95.11, 96.38)


def test_contradictions_follow_from_the_tables(paper):
    cells, means, second = paper["table1"], far_means(paper), paper["table2"]
    energy, energy_gaussian, bce, _, _ = paper["table3"].itertuples()
    plain = row(second, known="CIFAR10", row="MSP")
    from_scratch = means.loc[("CIFAR10", "wideresnet", "scratch")]
    triples = {metric: better(metric, cells[[f"{metric}_{name}" for name in METHODS]]) for metric in DETECTION}
    leads = [int((triple.iloc[:, 2] == triple.max(axis=1)).sum()) for triple in triples.values()]
    alone = sum(int((triple.iloc[:, 2] > triple.iloc[:, :2].max(axis=1)).sum()) for triple in triples.values())
    assert leads == [19, 18, 13] and alone == sum(leads) - 4
    wide = cells[(cells.known == "CIFAR10") & (cells.network == "wideresnet")].set_index("outliers")
    gains = [
        better(name.split("_")[0], wide[name][wide.protocol == "scratch"] - wide[name][wide.protocol == "finetune"])
        for name in CELLS
    ]
    gains = np.round(gains, 4)
    assert gains.size == 54 and (gains < 0).sum() == 6 and (gains == 0).sum() == 3
    hard = cells[(cells.network == "wideresnet") & (cells.protocol == "scratch")]
    many = second[(second.known == "CIFAR100") & (second.protocol == "scratch")]
    assert many.fpr95.idxmax() == many.index[many.row == "ICE"][0]
    assert (hard.fpr95_ice[hard.known == "CIFAR100"] > 22.36).all()
    assert set(cells.outliers[cells.known == "CIFAR100"]).isdisjoint({"CIFAR10", "CIFAR100"})
    expected = [
        from_scratch.fpr95_energy,
        from_scratch[[f"fpr95_{name}" for name in METHODS]].min(),
        sum(leads),
        (gains > 0).sum(),
        many.fpr95.min(),
        hard.fpr95_ice.max(),
        many.aupr[many.row == "OE"].item() - row(second, known="CIFAR100", row="Mahalanobis").aupr,
        energy_gaussian.accuracy - energy.accuracy,
        from_scratch.fpr95_energy - energy_gaussian.fpr95,
        bce.auroc - energy.auroc,
        energy.fpr95 - bce.fpr95,
        len(cells),
        row(second, known="CIFAR10", row="Energy", protocol="finetune").accuracy - plain.accuracy,
    ]
    assert paper["contradictions"].computed.tolist() == pytest.approx(expected, abs=1e-6)


def test_the_arithmetic_of_each_contradiction_adds_up(paper):
    for line in paper["contradictions"].itertuples():
        left, right = line.arithmetic.split(":")[0].split(" = ")
        assert re.fullmatch(r"(min|max|[-+/\d., ()])+", left), left
        assert eval(left) == pytest.approx(float(right)) and float(right) == line.computed, line.statement
