"""The engine: what a step is, how training starts, and what an epoch draws."""

import numpy as np
import pytest
import torch

from icelib import heads, losses, models
from icelib.config import runs, schema
from icelib.data import tasks
from icelib.methods import METHODS, PAPER
from icelib.training import batches, engine, store, train
from icelib.util.errors import DivergedError
from tests.conftest import RUN

CPU = torch.device("cpu")


def a_run(method="ice", **schedule):
    run = runs.run(*RUN, method, 0)
    return run.model_copy(update={"schedule": run.schedule.model_copy(update=schedule)})


def small_data():
    generator = torch.Generator().manual_seed(0)
    known = torch.randint(0, 256, (200, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return {"known": known, "labels": torch.arange(200) % 6, "outliers": known.flip(0)[:90]}


@pytest.mark.parametrize("method", PAPER)
def test_every_method_takes_steps(inside, method):
    values = inside.params
    margins = {"margin_known": -5.0, "margin_outlier": -1.0}
    values["train"]["energy"] = {"weight": 0.1} | margins
    values["train"]["energy_gaussian"] = values["train"]["ice"] | {"margin_known": 1.0, "margin_outlier": 8.0}
    values["train"]["bce"], values["train"]["ice_minus"] = dict(values["train"]["oe"]), dict(values["train"]["ice"])
    inside.params = values
    terms = engine.Engine(runs.run(*RUN, method, 0), small_data(), 6, CPU).epoch(0)
    assert len(terms) >= 1 and all(np.isfinite(value) for value in terms.values())


def test_a_loss_may_be_a_tensor_and_ask_for_features(inside, monkeypatch):
    seen = {}

    def loss(known_logits, labels, outlier_logits, *, weight, known_features, outlier_features):
        seen["shapes"] = known_features.shape, outlier_features.shape
        return torch.nn.functional.cross_entropy(known_logits, labels) + weight * outlier_features.square().mean()

    monkeypatch.setitem(METHODS, "ice", METHODS["ice"]._replace(loss=loss))
    assert list(engine.Engine(a_run(), small_data(), 6, CPU).epoch(0)) == ["loss"]
    assert seen["shapes"] == ((32, 64), (32, 64))


def test_a_loss_that_is_not_finite_is_told_with_its_step(inside, monkeypatch):
    terms = lambda *_, weight: {"cross_entropy": torch.zeros((), requires_grad=True), "grow": torch.tensor(torch.inf)}
    monkeypatch.setitem(METHODS, "ice", METHODS["ice"]._replace(loss=terms))
    with pytest.raises(
        DivergedError, match=r"run digits-\S+: loss is not finite at epoch 1 of 2, step 1 of 6: .*grow = inf"
    ):
        engine.Engine(a_run(), small_data(), 6, CPU).epoch(0)


def test_a_network_is_compiled_where_params_say_so(inside, monkeypatch):
    seen = []
    monkeypatch.setattr(torch, "compile", lambda module, **options: seen.append((module, options)) or module)
    engine.Engine(a_run(), small_data(), 6, CPU)
    assert not seen
    trained = engine.Engine(a_run().model_copy(update={"compile": True}), small_data(), 6, CPU)
    assert seen == [(trained.model.backbone, {"dynamic": False})]


def test_a_compiled_network_is_validated_kept_and_loaded_as_any_other(inside, monkeypatch):
    real = torch.compile  # without the compiler of machine code, which takes half a minute and rounds otherwise
    monkeypatch.setattr(torch, "compile", lambda module, **options: real(module, backend="eager", **options))
    run = runs.vary(runs.run(*RUN, "ice", 0), {"epochs": 1})
    compiled = run.model_copy(update={"compile": True})
    drop = lambda epoch: {k: v for k, v in epoch.items() if k not in ("seconds", "images_per_second")}
    assert list(map(drop, train.train(compiled))) == list(map(drop, train.train(run)))
    found, expected = (store.load(x)[0].state_dict() for x in (compiled, run))
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


def finetuned(method):
    return runs.run("digits", "wideresnet", "finetune", method, 0)


@pytest.fixture
def plain(inside):
    run = runs.run(*RUN, "plain", 0)
    train.train(run)
    return store.load(run)[0]


def test_fine_tuning_of_a_linear_head_starts_as_the_plain_network(plain):
    started = engine.Engine(finetuned("oe"), small_data(), 6, CPU, plain).model
    for name, value in plain.state_dict().items():
        assert torch.equal(started.state_dict()[name], value), name


def test_fine_tuning_of_ice_starts_from_means_and_covariance_of_the_plain_features(plain):
    data, _ = tasks.load("digits", "train")
    started = engine.Engine(finetuned("ice"), data, 6, CPU, plain).model
    z = models.predict(plain, data["known"], torch.float32, features=True)
    assert torch.equal(models.predict(started, data["known"], torch.float32, features=True), z)
    means = torch.stack([z[data["labels"] == i].mean(0) for i in range(6)])
    torch.testing.assert_close(started.head.means.detach(), means)
    centred = z - means[data["labels"]]
    found, expected = (x / x.trace() for x in (started.head.L @ started.head.L.T, centred.T @ centred))
    assert torch.linalg.norm(found - expected) < 0.2 * torch.linalg.norm(expected), "but for shrinkage and scale"
    assert distance(started.head, z, data["labels"]) == pytest.approx(2.0, rel=1e-4)


def distance(head, z, labels):
    """Mean squared distance, in the metric of a head, of samples to the mean of their class."""
    return -head(z).detach().gather(1, labels[:, None]).mean().item()


def test_fine_tuning_can_start_from_a_random_head(plain):
    run, data = runs.vary(finetuned("ice"), {"gaussian_head": "random"}), small_data()
    head = engine.Engine(run, data, 6, CPU, plain).model.head
    torch.testing.assert_close(head.L, head.L[0, 0] * torch.eye(64))
    z = models.predict(plain, data["known"], torch.float32, features=True)
    assert distance(head, z, data["labels"]) == pytest.approx(2.0, rel=1e-4)


def test_a_network_from_scratch_starts_at_the_distance_of_its_first_images_and_is_else_as_it_was_built(
    inside, monkeypatch
):
    monkeypatch.setattr(engine, "START", 150)
    run, data = a_run("ice"), small_data()
    run = run.model_copy(update={"shape": run.shape.model_copy(update={"dropout": 0.0})})
    started = engine.Engine(run, data, 6, CPU).model
    after = torch.get_rng_state()
    torch.manual_seed(run.seed)
    built = models.build(run.network, run.shape.model_dump(), "gaussian", 6, run.head)
    assert torch.equal(torch.get_rng_state(), after)
    for name, value in built.backbone.state_dict().items():
        assert torch.equal(started.backbone.state_dict()[name], value), name
    assert torch.equal(started.head.means, built.head.means)
    z = started.backbone.train()(models.normalize(data["known"][:150])).detach()  # statistics of the batch
    assert distance(started.head, z, data["labels"][:150]) == pytest.approx(2.0, rel=1e-4)
    assert distance(built.head, z, data["labels"][:150]) != pytest.approx(2.0, rel=0.01)


def test_dropout_at_the_start_takes_no_random_numbers_from_what_follows(inside):
    run = a_run("ice")
    run = run.model_copy(update={"shape": run.shape.model_copy(update={"dropout": 0.5})})
    engine.Engine(run, small_data(), 6, CPU)
    after = torch.get_rng_state()
    torch.manual_seed(run.seed)
    models.build(run.network, run.shape.model_dump(), "gaussian", 6, run.head)
    assert torch.equal(torch.get_rng_state(), after)


def test_a_head_may_say_what_it_takes_over_from_the_plain_one(plain, monkeypatch):
    class Own(heads.LinearHead):
        def start_from(self, plain):
            self.extra = plain.weight.detach() + 1

    monkeypatch.setitem(METHODS, "oe", METHODS["oe"]._replace(head=Own))
    started = engine.Engine(finetuned("oe"), small_data(), 6, CPU, plain).model
    assert torch.equal(started.head.extra, plain.head.weight + 1)
    assert not torch.equal(started.head.weight, plain.head.weight)


def test_the_last_loss_is_known_at_every_step_after_the_first_look(inside, monkeypatch):
    monkeypatch.setattr(engine, "CHECK_EVERY", 4)
    trained, seen = engine.Engine(a_run("oe"), small_data(), 6, CPU), []
    for epoch in range(2):
        trained.epoch(epoch, lambda step, loss: seen.append(loss))
    assert [loss is None for loss in seen] == [True] * 3 + [False] * 9 and len(set(seen)) == 1 + 4


def test_augmented_images_are_crops_and_mirrors():
    image = torch.randint(1, 256, (1, 3, 32, 32), dtype=torch.uint8)
    images, generator = batches.Images(image, CPU), torch.Generator().manual_seed(0)
    found = images.augmented(torch.zeros(400, dtype=torch.int64), generator)
    padded = torch.nn.functional.pad(image[0], (4,) * 4)
    crops = [padded[:, i : i + 32, j : j + 32] for i in range(9) for j in range(9)]
    expected = {crop.flip(dims).numpy().tobytes() for crop in crops for dims in ([], [2])}
    seen = {x.numpy().tobytes() for x in found.contiguous()}
    assert seen <= expected and len(seen) > 120  # of 162 equally likely ones


def test_every_image_is_drawn_equally_often():
    images = batches.Images(torch.zeros(10, 3, 32, 32, dtype=torch.uint8), CPU)
    counts = torch.bincount(images.order(7, 5, torch.Generator().manual_seed(0)).flatten(), minlength=10)
    assert counts.min() >= 3 and counts.max() <= 4


def test_schedules():
    shape = lambda name, **extra: a_schedule.model_copy(update={"shape": name, **extra})
    a_schedule = schema.Schedule(
        epochs=1,
        known_batch=1,
        outlier_batch=1,
        learning_rate=1.0,
        shape="cosine",
        momentum=0.9,
        weight_decay=0.0,
        clip=1.0,
    )
    factor = engine.learning_rate_factor
    steps = shape("steps", milestones=[0.5, 0.75])
    assert [factor(steps, p) for p in (0, 0.49, 0.5, 0.75)] == pytest.approx([1, 1, 0.1, 0.01])
    assert [factor(shape("cosine"), p) for p in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert [factor(shape("onecycle"), p) for p in (0, 0.125, 0.25, 0.625, 1)] == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_one_step_is_sgd_with_nesterov_momentum_on_eq_0_15(inside):
    """The gradient is that of the whole objective, taken here by hand; the head is not decayed."""
    run = a_run("ice", shape="steps", milestones=[], clip=1e9)
    run = run.model_copy(update={"shape": run.shape.model_copy(update={"dropout": 0.0})})
    trained = engine.Engine(run, small_data(), 6, CPU)
    before = {name: p.detach().clone() for name, p in trained.model.named_parameters()}
    index, generator = torch.arange(20), torch.Generator().manual_seed(0)
    x = torch.cat([images.augmented(index, generator) for images in (trained.known, trained.outliers)])
    h = trained.model.train()(models.normalize(x).to(memory_format=torch.channels_last))
    labels, known, outlier = trained.labels[index], h[:20], h[20:].max(1).values
    likelihood = -known[torch.arange(20), labels].mean() - torch.log(1 - outlier.exp()).mean()
    objective = torch.nn.functional.cross_entropy(known, labels) + 0.1 * likelihood
    gradients = torch.autograd.grad(objective, list(trained.model.parameters()))
    trained.step(index, index, 0.0, torch.Generator().manual_seed(0))
    for (name, p), gradient in zip(trained.model.named_parameters(), gradients, strict=True):
        decay = 0.0 if name.startswith("head") else run.schedule.weight_decay
        expected = before[name] - 0.1 * 1.9 * (gradient + decay * before[name])
        torch.testing.assert_close(p.detach(), expected, rtol=1e-4, atol=1e-5)


def test_a_method_may_prepare_its_outliers_and_follow_progress(inside, monkeypatch):
    """The two brightest of four outliers are trained on; the loss sees the share of steps done before it."""
    seen, shares = [], []

    def prepare(known, labels, outliers, *, model, generator):
        seen.append((len(known), len(labels), len(outliers)))
        return outliers[outliers.mean((1, 2, 3)).topk(len(outliers) // 2).indices]

    def loss(known_logits, labels, outlier_logits, *, weight, progress):
        shares.append(progress)
        assert len(outlier_logits) == run.schedule.outlier_batch
        return losses.outlier_exposure(known_logits, labels, outlier_logits, weight=weight)

    own = engine.METHODS["oe"]._replace(loss=loss, prepare=prepare, pool=2)
    monkeypatch.setitem(engine.METHODS, "oe", own)
    run = a_run("oe", epochs=2)
    trained = engine.Engine(run, small_data(), 6, CPU)
    plain = engine.Engine(run, small_data(), 6, CPU)
    [trained.epoch(number) for number in range(2)]
    batch = run.schedule.outlier_batch
    assert seen == [(trained.known_batch, trained.known_batch, 2 * batch)] * 2 * trained.steps
    assert shares == pytest.approx(np.arange(2 * trained.steps) / (2 * trained.steps))
    assert plain.images_per_epoch == trained.images_per_epoch
