"""A trace: what was found out about a number, what cannot be told, and what disagrees."""

import hashlib
import platform

import nbformat
from packaging.requirements import Requirement

from icelib import commits, lockfile, notebooks, paths
from icelib.versions import LIBRARIES

# what git holds; and what stages make of which the digest is told
IN_GIT = ("figures/", *(f"results/{x}/" for x in ("beyond", "confirmation", "data", "history", "metrics", "sweeps")))
EXCERPTS = "notebooks/code/methods/"  # written by icelib.excerpts, one folder for each scale
FROM_STAGES = ("checkpoints/", "data/", "results/")
# `dvc repro` alone takes a file for good that it brought back itself from a damaged object of its cache
MEND = "remove the changed file and run `make results`"


class Trace:
    """What was found out, line by line; the methods add to it.

    Parameters
    ----------
    stages : dict of str to lockfile.Stage
        From `lockfile.read`.
    content : dict
        params.yaml as it is.

    Attributes
    ----------
    lines, unknown, contradictions : list of str
    """

    def __init__(self, stages, content):
        self.stages, self.content = stages, content
        self.silent = commits.why_silent()
        self.lines, self.unknown, self.contradictions = [], [], []
        self.holding = {}  # runs share their code, and git takes its time

    def __str__(self):
        told = [f"cannot be told: {text}" for text in dict.fromkeys(self.unknown)]
        wrong = [f"CONTRADICTION: {text}" for text in dict.fromkeys(self.contradictions)]
        return "\n".join([*self.lines, *told, *(wrong or ["no contradiction"])])

    def tell(self, label, text):
        """Add a line: what it is about, and what was found out."""
        self.lines.append(f"  {label:<11} {text}")

    def cannot_tell(self, text):
        """Note what cannot be told, and why."""
        self.unknown.append(text)

    def check(self, agrees, otherwise):
        """Note a contradiction, told by `otherwise`, unless `agrees`."""
        if not agrees:
            self.contradictions.append(otherwise)

    def step(self, what, path):
        """Tell which stage made a file, from what, with which code and parameters, and what it made.

        Parameters
        ----------
        what : str
            Name of the step for readers.
        path : str
            As dvc.lock has it.

        Returns
        -------
        commits.Commit or None
            The newest that holds the code.
        """
        stage = lockfile.maker(self.stages, path)
        if stage is None:
            self.cannot_tell(f"how {path} was made: dvc.lock has no record of it")
            return None
        self.tell(what, f"by stage {stage.name}")
        commit = self._code(stage)
        for key, value in stage.params.items():
            text = ", ".join(f"{name} {x}" for name, x in value.items()) if isinstance(value, dict) else value
            self.tell("with", f"{key}: {text or 'none'}")
        self.unchanged(stage, tuple(stage.params))
        for name, digest in stage.deps.items():
            if name.startswith(FROM_STAGES) and not digest.endswith(".dir"):
                self.tell("from", f"{name}, MD5 {digest}")
                self._same(stage, name, digest)
        for name, digest in stage.outs.items():
            if name.startswith(FROM_STAGES) and not digest.endswith(".dir"):
                self._made(stage, name, digest)
        return commit

    def table(self, path, scale):
        """Tell by which stage a table (`path`) was written, and whether it still is what the pipeline wrote.

        Its stage depends on all of params.yaml; only what a scale's rows are made from is compared.
        """
        stage = lockfile.maker(self.stages, path)
        if stage is None:
            self.cannot_tell(f"how {path} was made: dvc.lock has no record of it")
            return
        self.tell("tabulated", f"by stage {stage.name}")
        self._code(stage)
        self.unchanged(stage, ("runs", "seeds", f"{scale}.known"))
        self._made(stage, path, stage.outs[path])

    def unchanged(self, stage, keys):
        """Check that params.yaml still has the values of a stage, of those under some dotted keys."""
        for key, then, now in lockfile.changed_params(stage, self.content):
            if any(key == wanted or key.startswith(f"{wanted}.") for wanted in keys):
                text = f"{stage.name} was run with {key} = {then}, and params.yaml has {now}; run `dvc repro`"
                self.check(False, text)

    def _same(self, reader, path, digest):
        writer = lockfile.maker(self.stages, path)
        if writer is None:
            self.cannot_tell(f"how {path}, which {reader.name} read, was made: dvc.lock has no record of it")
            return
        self.check(
            digest == writer.outs[path],
            f"{reader.name} read another {path} (MD5 {digest}) than {writer.name} made ({writer.outs[path]}); "
            "run `dvc repro`",
        )

    def _made(self, stage, path, digest):
        exists = (paths.ROOT / path).exists()
        self.tell("made", f"{path}, MD5 {digest}" + ("" if exists else ", which is not here"))
        self.check(exists or not path.startswith(IN_GIT), f"{path} is missing; `dvc repro` makes it")
        if exists:
            found = md5(path)
            self.check(
                found == digest,
                f"{path} (MD5 {found}) is not what {stage.name} made ({digest}); remove it and run `make results`",
            )
            if path.startswith(IN_GIT):
                self._recorded(path)

    def _recorded(self, path):
        if self.silent:
            self.cannot_tell(f"which commits recorded the results: {self.silent}")
            return
        commit = commits.recorded(path)
        state = [] if commits.is_committed(path) else ["changed since, not committed" if commit else "not committed"]
        self.tell("", ", ".join([*([f"recorded in commit {commit}"] if commit else []), *state]))

    def _code(self, stage):
        files = [(path, digest) for path, digest in stage.deps.items() if path.startswith("icelib/") and digest]
        files = [(path, digest) for path, digest in files if not digest.endswith(".dir")]
        files += [x for x in self._excerpted(stage) if x not in files]
        found = []
        if self.silent:
            self.cannot_tell(f"which commit holds the code that ran: {self.silent}")
        else:
            exports = [(path, x) for path, x in stage.deps.items() if path.startswith("notebooks/code/")]
            notebook = tuple((path, x) for path, x in exports if not path.startswith(EXCERPTS))
            asked = (*files, *notebook)
            if asked not in self.holding:
                self.holding[asked] = [x for x in commits.holding(*files) if _same_notebooks(x, notebook)]
            found = self.holding[asked]
            if not found:
                self.cannot_tell(
                    f"which commit holds the code that {stage.name} ran: none up to this one has all of it as dvc.lock "
                    "records it"
                )
        if found:
            self.tell("code", f"of commit {found[0]}" + (f", and of {len(found) - 1} before it" if found[1:] else ""))
        changed = [path for path, digest in files if not (paths.ROOT / path).exists() or md5(path) != digest]
        if changed:
            self.tell("", f"changed since in {', '.join(changed)}")
        return found[0] if found else None

    def _excerpted(self, stage):
        """The modules behind a method's excerpt, as they were when it was last written, which changed nothing in it."""
        scales = {path.split("/")[3] for path in stage.deps if path.startswith(EXCERPTS)}
        makers = filter(None, (lockfile.maker(self.stages, f"{EXCERPTS}{scale}") for scale in scales))
        return [x for maker in makers for x in maker.deps.items() if x[0].startswith("icelib/")]

    def libraries(self, recorded, commit):
        """Tell the versions that were recorded, and what was pinned of the others.

        Parameters
        ----------
        recorded : dict of str to str
        commit : commits.Commit or None
            Of the code that ran.
        """
        if recorded:
            self.tell("versions", ", ".join(f"{name} {version}" for name, version in recorded.items()))
        lock = commits.content(commit.name, "requirements.lock") if commit else None
        lines = [line for line in (lock or b"").decode().splitlines() if line and not line.startswith("#")]
        python = recorded.get("python", platform.python_version())  # some versions are pinned for some Pythons alone
        of = {"python_full_version": python, "python_version": ".".join(python.split(".")[:2])}
        pins = [pin for pin in map(Requirement, lines) if pin.marker is None or pin.marker.evaluate(of)]
        pins = {pin.name: next(iter(pin.specifier)).version for pin in pins}
        others = [name for name in LIBRARIES if name not in recorded]
        if others:
            pinned = [f"{name} {pins[name]}" for name in others if name in pins]
            where = f"; requirements.lock of commit {commit.name} pins {', '.join(pinned)}" if pinned else ""
            self.cannot_tell(f"versions of {', '.join(others)}: the run did not record them{where}")
        for name in recorded.keys() & pins:
            if recorded[name].split("+")[0] != pins[name]:
                self.tell(
                    "", f"not the environment of requirements.lock in that commit, which pins {name} {pins[name]}"
                )


def md5(path):
    """Return the MD5 of a file (path from the project), hexadecimal, as DVC computes it."""
    with open(paths.ROOT / path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _same_notebooks(commit, files):
    """Whether notebooks have the same code in a commit, by the MD5 of their export; their prose may differ."""
    for path, digest in files:
        text = commits.content(commit.name, f"notebooks/{path.removeprefix('notebooks/code/')[:-3]}.ipynb")
        code = notebooks.code_of(nbformat.reads(text.decode(), as_version=4)) if text else b""
        if hashlib.md5(code).hexdigest() != digest:
            return False
    return True
