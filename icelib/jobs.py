"""The long part of the pipeline as a list of jobs, for a cluster's scheduler or the cores of one machine.

``python -m icelib.jobs`` prints one line for each run, sweep and variant that params.yaml declares, in an
order in which they could be done one after another: name, command and the names of the jobs that
must be done before, separated by tabs. docs/scaling.md shows how to hand them on.
"""

import networkx as nx

from icelib import paths

# of a run, from training to what is measured on its networks; the tables need all runs
OF_A_RUN = ("train", "score", "metrics", "trace")


def jobs(graph):
    """Gather a pipeline's stages into jobs.

    Parameters
    ----------
    graph : networkx.DiGraph
        Names of stages, with edges to those that each depends on.

    Returns
    -------
    list of (str, list of str, list of str)
        Name, stages in order, and names of the jobs to wait for.
    """
    place = {name: number for number, name in enumerate(graph)}  # as in dvc.yaml
    order = nx.lexicographical_topological_sort(graph.reverse(), key=place.get)
    stages = {}
    for stage in order:
        kind, _, item = stage.partition("@")
        if kind in ("sweep", "search"):
            stages[stage] = [stage]
        elif kind.split("_")[0] in OF_A_RUN:
            stages.setdefault(item, []).append(stage)
    job = {stage: name for name, group in stages.items() for stage in group}
    waits = {
        name: {job[x] for stage in group for x in nx.descendants(graph, stage) if x in job} - {name}
        for name, group in stages.items()
    }
    return [(name, group, sorted(waits[name], key=list(stages).index)) for name, group in stages.items()]


def main():
    """Print the jobs of the project's pipeline."""
    from dvc.repo import Repo

    with Repo(paths.ROOT) as repo:
        graph = nx.relabel_nodes(repo.index.graph, lambda stage: stage.addressing)
    for name, group, waits in jobs(graph):
        print(name, f"dvc --wait-for-lock repro --single-item {' '.join(group)}", " ".join(waits), sep="\t")


if __name__ == "__main__":
    main()
