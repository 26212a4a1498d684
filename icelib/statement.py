"""What was and what was not reproduced, said at the top of README.md from the result files.

``python -m icelib.statement`` writes it between the two marks there, and changes nothing else.
"""

from icelib import beyond, captions, cells, params, paths, tables, verdicts
from icelib.errors import readable_errors
from icelib.files import read_json, write_bytes
from icelib.methods import PAPER

# the marks in README.md
BEGIN = "<!-- what was reproduced: written by `python -m icelib.statement`, not by hand -->"
END = "<!-- end of what was reproduced -->"


def statement():
    """Say what was run, how far it agrees with the paper's order of methods, and what was not run.

    Returns
    -------
    str
        A Markdown list, for all scales of params.yaml.

    Raises
    ------
    ValueError
        If a result file is missing or was made with other parameters than params.yaml has.
    """
    loaded = params.load()
    lines = [line for scale in loaded.scales for line in (_run(scale), _agreement1(scale), _agreement2(scale))]
    return "\n".join(f"- {line}" for line in [*lines, _not_run(loaded)])


def _run(scale):
    runs, loaded = params.declared(scale), params.load()
    machines = dict.fromkeys(captions.machine(_environment(run)) for run in runs)
    epochs = {run.protocol: run.schedule.epochs for run in runs}
    how = [f"{number} epochs {captions.NAMES[protocol]}" for protocol, number in epochs.items()]
    played = {task.plays: task.title for task in _tasks(scale)}
    return (
        f"**Run at {scale} scale:** {len(runs)} trainings ({_listed(dict.fromkeys(captions.network(r.shape) for r in runs))}; "
        f"{_listed(how)}) and {len(loaded.sweeps)} sweeps, {_seeds(loaded)}, on {' and '.join(machines)}. "
        + " ".join(f"{known}'s part is played by {title}." for known, title in played.items())
        + (_beyond(loaded, scale) if scale in loaded.beyond else "")
    )


def _beyond(loaded, scale):
    found = beyond.declared(scale)
    trained = [name for name, result in found.items() if result["runs"]]
    ours = [name for name in trained if name not in PAPER]
    lost = f"; {len(found) - len(trained)} more diverged" if len(found) > len(trained) else ""
    return (
        f" Beyond the paper, {len(ours)} variants of ours and {len(trained) - len(ours)} methods of the paper were "
        f"compared with {len(loaded.blocks[scale].beyond.seeds)} seeds each{lost}."
    )


def _agreement1(scale):
    theirs, ours = verdicts.triples(tables.table1(scale))
    said = f"**Table 1:** of OE, Energy and ICE, ICE is best or ties in {theirs.best_paper.sum()} of the paper's {len(theirs)} triples"
    if ours.empty:
        return f"{said}; none was run here."
    both = ours[ours.in_paper]
    return (
        f"{said} (known set, network, schedule, outliers, metric), and here in {ours.best_ours.sum()} of {len(ours)}: "
        f"ahead of both others in {(ours.lead > 0).sum()}, behind one in {(ours.lead < 0).sum()}, within the noise in "
        f"{ours.lead.isna().sum()}. Of the {len(both)} whose outliers play one of the paper's sets, {both.same_order.sum()} "
        f"have the paper's order of all three (its ties fit either order), and {(both.best_paper == both.best_ours).sum()} "
        "agree on whether ICE is best."
    )


def _agreement2(scale):
    two, three = verdicts.comparisons2(tables.table2(scale)), verdicts.comparisons3(tables.table3(scale))
    said = [
        f"of {len(lines)} comparisons of ICE with another row of Table {number}, {same} have the paper's order, {other} the "
        f"other one, and {unclear} are within the noise"
        for number, lines in ((2, two), (3, three))
        for same, other, unclear in [verdicts.counted(lines)]
    ]
    return f"**Tables 2 and 3:** {'; '.join(said)}."


def _not_run(loaded):
    tasks = [task for scale in loaded.scales for task in _tasks(scale)]
    runs = [run for scale in loaded.scales for run in params.declared(scale)]
    whole = {task.plays for task in tasks if _is_paper(task.known.test, task.plays)}
    tested = {part.plays for task in tasks for part in task.outliers.values() if _is_paper(part, part.plays)}
    left = [
        f"the {name} scale ({_networks(block)})" for name, block in loaded.blocks.items() if name not in loaded.scales
    ]
    for what, names, there in (
        ("the paper's known sets", dict.fromkeys(cells.paper("table1").known), whole),
        ("its outliers", dict.fromkeys(cells.paper("table1").outliers), tested),
    ):
        missing = [name for name in names if name not in there]
        if missing:
            left.append(f"{what} {_listed(missing)} as they are")
    if all("CPU" in _environment(run)["device"] for run in runs):
        left.append("anything on a GPU")
    if len(loaded.seeds) == 1:
        left.append("a second seed of what the tables and figures of the paper show")
    return f"**Not among the results:** {'; '.join(left)}."


def _tasks(scale):
    loaded = params.load()
    used = {run.known for run in params.declared(scale)}
    return [task for name, task in loaded.blocks[scale].known.items() if name in used]


def _is_paper(part, plays):
    """Whether a part is the whole set of the paper that it plays; LSUN is `lsun_crop`, see params.yaml."""
    name = {"LSUN": "lsun_crop"}.get(plays, str(plays).lower())
    return part.set == name and not part.classes and not part.per_class


def _networks(block):
    return _listed(captions.network(shape) for _, shape in block.networks if shape)


def _environment(run):
    return read_json(paths.history(run))["environment"]


def _seeds(loaded):
    return f"seed {loaded.seeds[0]} alone" if len(loaded.seeds) == 1 else f"seeds {_listed(loaded.seeds)}"


def _listed(names):
    *most, last = map(str, names)
    return f"{', '.join(most)} and {last}" if most else last


def write():
    """Put the statement in its place in README.md.

    Raises
    ------
    ValueError
        If README.md has not the two marks, each once and in order.
    """
    path = paths.ROOT / "README.md"
    text = path.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end or BEGIN in rest or END in after:
        raise ValueError(f"README.md: expected one line {BEGIN!r} and after it one line {END!r}")
    write_bytes(path, f"{before}{begin}\n{statement()}\n{end}{after}".encode())


if __name__ == "__main__":
    with readable_errors():
        write()
