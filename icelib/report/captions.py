"""On what the numbers of a table or figure were measured, and what its marks mean."""

from collections import defaultdict
from typing import NamedTuple

from icelib.config import runs
from icelib.evaluation.statistics import SEEDS
from icelib.methods import METHODS
from icelib.report import results
from icelib.report.tables import ABLATION, ROWS, TRIPLE, added

NAMES = {"wideresnet": "WideResNet", "densenet": "DenseNet", "finetune": "fine-tuned", "scratch": "from scratch"}
OUTLIER_POSITIVE = (
    "Outlier-positive: AUPR of finding outliers; FPR95 = share of known images rejected when 95 % of outliers are."
)
KNOWN_POSITIVE = (
    "Known-positive: AUPR of finding known images; FPR95 = share of outliers accepted when 95 % of known images are."
)
SPREAD = {
    True: "One seed: how far another would lie is not known, so no two values can be told apart.",
    False: "After ±: standard deviation over seeds; a value without it is of one seed.",
}
FILES = "The .csv has either convention, intervals, values by seed, and differences."
SCRATCH, FINETUNE = (("CIFAR10", "wideresnet", protocol) for protocol in ("scratch", "finetune"))
DENSENET = ("CIFAR10", "densenet", "scratch")
SECOND_SET, SECOND_FINETUNE = (("CIFAR100", "wideresnet", protocol) for protocol in ("scratch", "finetune"))
# title, legend, blocks (known set, network, protocol; all where empty, that of Table 3 where None) and methods of each
TABLES = {
    "table1": (
        "Table 1",
        f"{OUTLIER_POSITIVE} A set of ours stands beside the paper's whose part it plays; where the names differ the "
        "images do. The paper's far means are computed from its cells.",
        (FINETUNE, SCRATCH, DENSENET, SECOND_SET),
        tuple(TRIPLE.values()),
    ),
    "table2": (
        "Table 2",
        "† fine-tuned, ‡ from scratch. The paper averages over iSUN, Places365, Textures, LSUN and SVHN. A paper value "
        "in parentheses seems to follow the other convention.",
        (SCRATCH, FINETUNE, SECOND_SET, SECOND_FINETUNE),
        tuple(dict.fromkeys(method for method, _ in ROWS.values())),
    ),
    "table3": (
        "Table 3",
        "WRN: linear head, WRN(G): Gaussian head; ICE⁻: without L_ice-id. The paper's are from scratch, and averages "
        "over iSUN, Places365, Textures, LSUN and SVHN.",
        None,
        tuple(ABLATION.values()),
    ),
    "extended": (
        "Beyond Table 2: post-hoc detectors on every network",
        "Columns: the method that trained the network; own score: that method's. The .csv has intervals.",
        None,
        tuple(METHODS),
    ),
    "differences": (
        "Differences by paired seeds",
        "Points by which the first method exceeds the second, seed by seed and on one device, each by its own score "
        "(MSP of plain training, from scratch also beside fine-tuned ones), with the 95 % t interval of the mean over "
        "seeds, each for itself, not corrected for their number. Ahead: better (less FPR95), 0 not in the interval; "
        f"behind: worse likewise; open: neither, or fewer than {SEEDS} pairs. Smallest shown: half the interval; these "
        "seeds could have shown no smaller difference.",
        (),
        tuple(METHODS),
    ),
}


class Caption(NamedTuple):
    """Title, legend; `sets`: which images play a known set; `settings`: how and on what a block was trained."""

    title: str
    legend: str
    sets: dict
    settings: dict

    def told(self, blocks=None):
        """List what there is to tell of some blocks (known set, network, protocol), or of all, as texts."""
        blocks = [block for block in blocks or self.settings if block in self.settings]
        sets = [self.sets[known] for known in dict.fromkeys(block[0] for block in blocks)]
        return [*sets, *(self.settings[block] for block in blocks)]


def caption(name):
    """Find out what a table of `TABLES` was measured on, as a `Caption`; blocks that are not declared are left out."""
    title, legend, blocks, methods = TABLES[name]
    groups = runs.by_block()
    blocks, behind = (runs.main_block(),) if blocks is None else blocks, {}
    for block in blocks or dict.fromkeys(key[:3] for key in list(groups)):
        if several := [run for method in dict.fromkeys([*methods, *added()]) for run in groups[*block, method]]:
            behind[block] = several
    one = max((len({run.seed for run in several}) for several in behind.values()), default=1) == 1
    return Caption(
        f"{title}, {runs.load().scale} scale",
        legend if name in ("extended", "differences") else f"{legend} {SPREAD[one]} {FILES}",
        {block[0]: _sets(several[0]) for block, several in behind.items()},
        {block: f"{block[0]}: {_trained(several)}." for block, several in behind.items()},
    )


def small_print(*several):
    """Say where a figure's numbers come from: scale, tasks, trainings with their seeds and names, and hardware."""
    if not several:
        return "No run is declared."
    tasks = dict.fromkeys(run.task for run in several)
    groups = {}
    for run in several:
        groups.setdefault((run.task, run.network, run.protocol), []).append(run)
    lines = [f"{runs.load().scale} scale; {'; '.join(f'{name}: {runs.load().tasks[name].title}' for name in tasks)}."]
    for (task, *_), group in groups.items():
        lines.append(f"{task}: {_trained(group)}. Runs: {', '.join(run.name for run in group)}.")
    return "\n".join(lines)


def setting(run):
    """Network, named as the paper does, and protocol of a run in a few words."""
    kind, width = ("DenseNet", "growth") if hasattr(run.shape, "growth") else ("WideResNet", "widen")
    return f"{kind}-{run.shape.depth}-{getattr(run.shape, width)}, {NAMES.get(run.protocol, run.protocol)}"


def _sets(run):
    task, images = runs.load().tasks[run.task], results.metrics(run)["images"]

    def listed(names):
        plays = {name: task.outliers[name].plays for name in names}
        return ", ".join(f"{name} ({images[name]}{f', beside {plays[name]}' * bool(plays[name])})" for name in names)

    kinds = {"far": task.far, "near": task.near}
    kinds["in no mean"] = [name for name in task.outliers if name not in {*task.far, *task.near}]
    told = "; ".join(f"{kind}: {listed(names)}" for kind, names in kinds.items() if names)
    return f"{task.plays}'s part is played by {task.title} (test images: {images['known']}). Outliers, {told}."


def _trained(several):
    """Network, schedule, seeds and hardware of runs that differ by method and seed alone."""
    first, told = several[0], "{device}, threads: {threads}, {precision}, torch {torch}"
    machines = dict.fromkeys(told.format(**results.history(run)["environment"]) for run in several)
    start = ", from the plain network" * (first.schedule.start == "plain")
    titles = defaultdict(list)  # of methods, by their seeds
    for method in dict.fromkeys(run.method for run in several):
        seeds = ", ".join(dict.fromkeys(str(run.seed) for run in several if run.method == method))
        titles[seeds].append(METHODS[method].title)
    named = [f"{seeds} ({', '.join(names)})" for seeds, names in titles.items()]
    seeds = " and ".join(named if len(titles) > 1 else titles)
    return f"{setting(first)}{start}; epochs: {first.schedule.epochs}; seeds: {seeds}; {' and '.join(machines)}"
