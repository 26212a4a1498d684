"""Score files: what a trained network says of every test image, from which all metrics follow.

``python -m icelib.scoring RUN…`` (the parts of a run's name) writes one safetensors file with
``labels`` and ``predicted`` (N,) of the known test images and, for every detector and image set,
``DETECTOR/SET`` (M,) float64, higher for known images; the known set is called ``known``. A score of
the user's own has the number type that its function returns.
"""

from icelib import batches, checkpoints, hardware, params, paths, posthoc, tasks, tensors, versions
from icelib import scores as score_functions
from icelib.errors import readable_errors
from icelib.methods import METHODS

# Methods whose networks the post-hoc detectors read: the paper's baseline, and ICE beyond the paper.
READ_POSTHOC = ("plain", "ice")


def score(run):
    """Score all test images of a run's task and write its score file.

    The score of a network that was trained with outliers is named after its method. The plain
    network and ICE's are scored by `icelib.posthoc` and the user's own scores as well.

    Parameters
    ----------
    run : params.Run

    Raises
    ------
    ValueError
        If images or weights are missing or damaged, the weights were made with other parameters,
        or a score of the user's own has the name of a detector.
    """
    device = hardware.device()
    model, about = checkpoints.load(run, device)
    test, _ = tasks.load(run.scale, run.known, "test")
    labels = test.pop("labels")
    logits = {name: batches.predict(model, images, posthoc.PRECISION) for name, images in test.items()}
    method, scores = METHODS[run.method], {}
    if method.outliers:
        scores = {f"{run.method}/{name}": method.score(x) for name, x in logits.items()}
    if run.method in READ_POSTHOC:
        train, _ = tasks.load(run.scale, run.known, "train")
        validation, _ = tasks.load(run.scale, run.known, "validation")
        settings = params.load().blocks[run.scale].detectors
        scores |= posthoc.scores(model, train, validation, test, settings)
        taken = {key.split("/")[0] for key in scores}
        for own in settings.own:
            if own in taken:
                raise ValueError(
                    f"{run.scale}.detectors.own names {own!r}, which is a detector already; rename the function"
                )
        scores |= {
            f"{own}/{name}": getattr(score_functions, own)(x) for own in settings.own for name, x in logits.items()
        }
    predicted = logits["known"].argmax(1)
    scoring = {**hardware.describe(device, posthoc.PRECISION), "libraries": versions.installed()}
    about |= {"checkpoint": about["sha256"], "scoring": scoring}
    tensors.save(paths.scores(run), scores | {"labels": labels, "predicted": predicted}, about)


if __name__ == "__main__":
    with readable_errors():
        score(params.run_from_arguments("Score all test images with the trained network of a run."))
