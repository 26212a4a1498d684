"""Score files: what a trained network says of every test image, from which all metrics follow.

``python -m icelib.scoring RUN…`` (the parts of a run's name) writes one safetensors file with
``labels`` and ``predicted`` (N,) of the known test images and, for every detector and image set,
``DETECTOR/SET`` (M,) float64, higher for known images; the known set is called ``known``.
"""

import torch

from icelib import batches, hardware, models, params, paths, tasks, tensors
from icelib.errors import readable_errors
from icelib.methods import METHODS

# All scores come from a float32 network, also where it was trained in bfloat16.
PRECISION = torch.float32


def load_model(run, device="cpu"):
    """Load the trained network of a run.

    Parameters
    ----------
    run : params.Run
    device : torch.device or str

    Returns
    -------
    model : Classifier
        In evaluation mode.
    about : dict
        ``run``, ``classes`` and ``environment`` of the training.

    Raises
    ------
    ValueError
        If the checkpoint is missing or damaged, or was made with other parameters.
    """
    weights, about = tensors.load(paths.checkpoint(run), device)
    if about["run"] != run.model_dump():
        raise ValueError(
            f"{paths.relative(paths.checkpoint(run))} was trained with other parameters than params.yaml has; run `dvc repro`"
        )
    head = METHODS[run.method].head
    model = models.build(run.network, run.shape.model_dump(), head, len(about["classes"]), run.head)
    model.load_state_dict(weights)
    return model.to(device, memory_format=torch.channels_last).eval(), about


def score(run):
    """Score all test images of a run's task and write its score file.

    The score of a network that was trained with outliers is named after its method. The plain
    network is scored by the post-hoc detectors of the paper's Table 2 as pytorch-ood has them:
    ``msp``, ``odin`` and ``mahalanobis`` (penultimate layer, no input noise).

    Parameters
    ----------
    run : params.Run
    """
    device = hardware.device()
    model, about = load_model(run, device)
    test, _ = tasks.load(run.scale, run.known, "test")
    labels = test.pop("labels")
    logits = {name: batches.predict(model, images, PRECISION) for name, images in test.items()}
    if run.method == "plain":
        scores = _posthoc(run, model, test, logits)
    else:
        scores = {f"{run.method}/{name}": METHODS[run.method].score(x) for name, x in logits.items()}
    predicted = logits["known"].argmax(1)
    tensors.save(paths.scores(run), scores | {"labels": labels, "predicted": predicted}, about)


def _posthoc(run, model, test, logits):
    from pytorch_ood.detector import ODIN, Mahalanobis, MaxSoftmax  # slow to import

    def features(images):
        return batches.predict(model, images, PRECISION, features=True).cpu()

    settings = params.load().blocks[run.scale].detectors
    train, _ = tasks.load(run.scale, run.known, "train")
    mahalanobis = Mahalanobis(None).fit_features(features(train["known"]), train["labels"])
    odin = ODIN(model, eps=settings.odin_noise, temperature=settings.odin_temperature, norm_std=list(models.STD))
    device = next(model.parameters()).device
    scores = {}
    for name, images in test.items():
        parts = [odin.predict(models.normalize(part.to(device))) for part in images.split(500)]
        # theirs are higher for outliers
        scores[f"msp/{name}"] = -MaxSoftmax.score(logits[name].double())
        scores[f"odin/{name}"] = -torch.cat(parts).double()
        scores[f"mahalanobis/{name}"] = -mahalanobis.predict_features(features(images)).double()
    return scores


if __name__ == "__main__":
    with readable_errors():
        score(params.run_from_arguments("Score all test images with the trained network of a run."))
