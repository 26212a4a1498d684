"""What stands above a table: on what its numbers were measured, and what its marks mean."""

from typing import NamedTuple

from icelib import params, paths, results
from icelib.cells import by_block, task_playing
from icelib.files import read_json
from icelib.tables import ABLATION, ROWS, TRIPLE

# of a protocol, beside the name of a method
MARKS = {"plain": "", "finetune": " †", "scratch": " ‡"}
HEADINGS = {
    "outlier_positive": "Outlier-positive: AUPR of finding outliers; FPR95 = known images rejected when 95 % of outliers are.",
    "known_positive": "Known-positive: AUPR of finding known images; FPR95 = outliers accepted when 95 % of known images are.",
}
INTERVALS = "In brackets: 95 % bootstrap intervals over test images of one run; after ±: standard deviation over seeds."
AVERAGED = "The paper averages over iSUN, Places365, Textures, LSUN and SVHN."
IN_PARENTHESES = "A paper value in parentheses seems to follow the other convention, so no difference is taken."
NAMES = {"wideresnet": "WideResNet", "densenet": "DenseNet", "finetune": "fine-tuned", "scratch": "from scratch"}
# blocks of the paper's tables: known set, network, protocol
SCRATCH = ("CIFAR10", "wideresnet", "scratch")
FINETUNE = ("CIFAR10", "wideresnet", "finetune")
DENSENET = ("CIFAR10", "densenet", "scratch")
MANY = ("CIFAR100", "wideresnet", "scratch")


class Table(NamedTuple):
    """A table's title and legend, and the trainings behind it: blocks (known set, network, protocol) and methods."""

    title: str
    legend: str
    blocks: tuple
    methods: tuple


TABLES = {
    "table1": Table(
        "The paper's Table 1",
        f"{HEADINGS['outlier_positive']} {INTERVALS} Bold: best of OE, Energy and ICE, all in a tie. The paper's row "
        "mean is computed from its cells without CIFAR100. A set of ours stands beside the paper's that it plays; "
        "where the names differ the images do, so that a difference is one of tasks too.",
        (FINETUNE, SCRATCH, DENSENET, MANY),
        tuple(TRIPLE.values()),
    ),
    "table2": Table(
        "The paper's Table 2",
        f"{AVERAGED} {INTERVALS} † fine-tuned, ‡ from scratch. {IN_PARENTHESES}",
        (SCRATCH, FINETUNE, MANY),
        tuple(dict.fromkeys(method for method, _ in ROWS.values())),
    ),
    "table3": Table(
        "The paper's Table 3",
        f"{AVERAGED} {INTERVALS} All from scratch. WRN: linear head, WRN(G): Gaussian head; ICE⁻: without L_ice-id. "
        f"{IN_PARENTHESES}",
        (SCRATCH,),
        tuple(ABLATION.values()),
    ),
    "extended": Table(
        "Beyond the paper's Table 2: post-hoc detectors on two networks",
        f"{INTERVALS} Plain and ICE: the network that is scored, trained from scratch.",
        (SCRATCH,),
        ("plain", "ice"),
    ),
}


class Caption(NamedTuple):
    """The parts of a caption.

    Attributes
    ----------
    title, legend : str
    sets : dict of str to str
        Which images play a known set of the paper and its outliers, and how many there are.
    settings : dict of tuple to str
        How the networks of a block were trained, and on what hardware.
    """

    title: str
    legend: str
    sets: dict
    settings: dict

    def told(self, blocks=None):
        """List what there is to tell of some blocks (known set, network, protocol), or of all, as texts."""
        blocks = [block for block in blocks or self.settings if block in self.settings]
        sets = [self.sets[known] for known in dict.fromkeys(block[0] for block in blocks)]
        return [*sets, *(self.settings[block] for block in blocks)]


def caption(name, scale):
    """Find out what a table at a scale was measured on.

    Parameters
    ----------
    name : {"table1", "table2", "table3", "extended"}
    scale : str

    Returns
    -------
    Caption
        Blocks that were not run are left out.
    """
    table, groups = TABLES[name], by_block(scale)
    behind = {block: [run for method in table.methods for run in groups[(*block, method)]] for block in table.blocks}
    behind = {block: runs for block, runs in behind.items() if runs}
    return Caption(
        f"{table.title}, {scale} scale",
        table.legend,
        {block[0]: _sets(scale, block[0], runs[0]) for block, runs in behind.items()},
        {block: _setting(block, runs) for block, runs in behind.items()},
    )


# the caption of Figure 1
FIGURE1 = (
    "Accuracy on known images against detection of outliers (AUROC, mean over the far sets): the paper's values "
    "hollow, ours solid. Better is up and to the right. The tasks differ in difficulty: compare the order of the "
    "methods, not the values."
)


def runs_of_figure1():
    """List the runs whose points Figure 1 shows."""
    methods = {method for method, _ in ROWS.values()}
    return [
        run
        for scale in params.load().scales
        for (known, network, _, method), runs in by_block(scale).items()
        if (known, network) == SCRATCH[:2] and method in methods
        for run in runs
    ]


def small_print(*runs):
    """Say where a figure's numbers come from: scales, known sets, runs with their seeds, and hardware.

    Parameters
    ----------
    *runs : params.Run
        Trained.

    Returns
    -------
    str
    """
    if not runs:
        return "No run is declared."
    machines = {machine(read_json(paths.history(run))["environment"]): None for run in runs}
    scales = {run.scale: {other.known: None for other in runs if other.scale == run.scale} for run in runs}
    where = "; ".join(
        f"{scale} scale, {', '.join(f'{known}: {params.task(scale, known).title}' for known in knowns)}"
        for scale, knowns in scales.items()
    )
    return f"{where}. Runs (the last number is the seed): {_names(runs)}. {' and '.join(machines)}."


def _names(runs):
    """Names of runs, those that differ by their method alone as ``known-network-protocol-{method,…}-seed``."""
    grouped = {}
    for run in runs:
        methods = grouped.setdefault((f"{run.known}-{run.network}-{run.protocol}", run.seed), {})
        methods[run.method] = None
    braces = lambda methods: f"{{{','.join(methods)}}}" if len(methods) > 1 else next(iter(methods))
    return ", ".join(f"{start}-{braces(methods)}-{seed}" for (start, seed), methods in grouped.items())


def _sets(scale, paper_known, run):
    task, images = task_playing(scale, paper_known), results.load(run)["images"]

    def listed(names):
        plays = {name: task.outliers[name].plays for name in names}
        return ", ".join(f"{name} ({images[name]}{f', beside {plays[name]}' * bool(plays[name])})" for name in names)

    near = [name for name in task.outliers if name not in task.mean_over]
    return (
        f"{paper_known}'s part is played by {task.title} ({images['known']} test images); detection is averaged over "
        f"{listed(task.mean_over)}{f', and not over {listed(near)}' * bool(near)}."
    )


def _setting(block, runs):
    machines = [results.load(run)["environment"] for run in runs]
    hardware = dict.fromkeys(map(machine, machines))
    epochs = runs[0].schedule.epochs
    how = {"scratch": "from scratch", "finetune": "of fine-tuning the plain network"}[block[2]]
    return (
        f"{block[0]}: {network(runs[0].shape)}, {epochs} epochs {how}, "
        f"seeds {', '.join(dict.fromkeys(str(run.seed) for run in runs))}, runs {_names(runs)}; {' and '.join(hardware)}."
    )


def machine(environment):
    """Name what a network was trained on, by the ``environment`` of its history."""
    return "{device}, {threads} threads, {precision}, torch {torch}".format(**environment)


def network(shape):
    """Name a network by its shape, as the paper does."""
    if hasattr(shape, "growth"):
        return f"DenseNet-{shape.depth}-{shape.growth}"
    return f"WideResNet-{shape.depth}-{shape.widen}"
