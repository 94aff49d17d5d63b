import json
import time
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from alexnet import LocalResponseNorm
from alexnet.datasets import InMemoryDataset
from alexnet.experiments import fit as fit_module
from alexnet.experiments.config import ExperimentConfig
from alexnet.experiments.fit import (
    augment_time_fraction,
    autocast,
    error_rate,
    fit,
    lrn_divisors,
    make_augment,
    preprocess,
    saturation,
    topk_error_rates,
    train_one_epoch,
)
from alexnet.experiments.nets import build_net
from helpers import some_of


def fit_curve(config, dataset):
    data = preprocess(dataset, config.pixels, config.crop)
    return fit(replace(config, batch_size=32), data, 8)[1]


def random_images(n):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8, generator=generator)


# Training


def test_a_net_that_begins_with_what_another_has_learned(patches):
    """All layers but the last are the other's before the first step."""
    config = ExperimentConfig(epochs=1, lr=1e-30, batch_size=32)
    other = build_net(replace(config, seed=1), 5)
    net, _ = fit(config, preprocess(patches), 8, pretrained=other)
    own = build_net(config, 8).state_dict()
    *copied, weight, bias = own
    expected = other.state_dict() | {weight: own[weight], bias: own[bias]}
    torch.testing.assert_close(net.state_dict(), expected, atol=1e-20, rtol=0)
    assert not any(own[name].equal(expected[name]) for name in copied if own[name].ndim > 1)


# Preprocessing


def test_preprocess(patches):
    images, _, _, _ = preprocess(patches)
    assert images.shape == (128, 3, 32, 32) and images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(images.mean(0), torch.zeros(3, 32, 32), atol=1e-5, rtol=0)
    assert images.std() == pytest.approx(1, abs=1e-3)
    _, _, test_images, _ = preprocess(patches, "raw")
    train_mean = patches.train_images.float().mean(0)
    torch.testing.assert_close(test_images, patches.test_images.float() - train_mean)


def test_augmentations_of_bytes(patches):
    images = patches.train_images[:64]
    found = {}
    for kind in ("none", "flip", "crop", "color", "color only"):
        torch.manual_seed(0)
        augment, center = make_augment(kind, images)
        middle, found[kind] = center(images), augment(images)
        assert middle.shape == found[kind].shape == (64, 3, 24, 24)
        assert found[kind].dtype == torch.float32
        same = []
        for a, b in zip(found[kind], middle):
            mirrored = kind == "flip" and (a.flip(-1) == b).all()
            same.append((a == b).all() or mirrored)
        assert all(same) == (kind in ("none", "flip"))
        assert found[kind].equal(middle) == (kind == "none")
    # The same windows: the color adds one number to each channel of an image
    added = found["color"] - found["crop"]
    expected = added[:, :, :1, :1].expand_as(added)
    torch.testing.assert_close(added, expected, atol=1e-5, rtol=0)
    assert (added[:, :, 0, 0].abs() > 1e-3).all(1).all()
    added = found["color only"] - found["none"]
    expected = added[:, :, :1, :1].expand_as(added)
    torch.testing.assert_close(added, expected, atol=1e-5, rtol=0)
    assert (added[:, :, 0, 0].abs() > 1e-3).all(1).all()


@pytest.mark.parametrize("kind", ["crop", "color"])
def test_consecutive_images_share_a_window(kind):
    images = random_images(1).repeat(70, 1, 1, 1)
    torch.manual_seed(0)
    found = make_augment(kind, images, images_per_crop=32)[0](images)
    without_color = found - found.mean((2, 3), keepdim=True)
    windows = without_color.round(decimals=3).flatten(1)
    assert [len(part.unique(dim=0)) for part in windows.split(32)] == [1, 1, 1]
    assert len(windows.unique(dim=0)) == 3
    alone = make_augment(kind, images)[0](images).round(decimals=3).flatten(1)
    assert len(alone.unique(dim=0)) > 40  # some of 70 draws out of 162 are equal


def test_raw_windows_are_pixels_minus_the_mean_color():
    images = random_images(300)
    augment, center = make_augment("crop", images, pixels="raw")
    middle = images[:, :, 4:28, 4:28].float()
    expected = middle - images.float().mean((0, 2, 3), keepdim=True)
    torch.testing.assert_close(center(images), expected, atol=1e-3, rtol=0)
    assert augment(images).std().item() == pytest.approx(middle.std().item(), rel=0.02)


def test_with_a_crop_the_images_stay_bytes():
    images = random_images(300)
    labels = images[:, 0, 0, 0]
    dataset = InMemoryDataset("x", ("a",), images, labels, images, labels)
    raw, standardized = (preprocess(dataset, pixels, 24) for pixels in ("raw", "standardized"))
    assert raw[0].dtype == torch.uint8 and raw[0].equal(images)
    assert all(a.equal(b) for a, b in zip(raw, standardized))


# The optimizer


def test_the_learning_rate_falls_to_zero(patches, monkeypatch):
    rates = []

    def note(sgd):
        rates.append([group["lr"] for group in sgd.param_groups])

    monkeypatch.setattr(torch.optim.SGD, "step", note)
    fit_curve(ExperimentConfig(epochs=2, lr=0.8, schedule="linear"), patches)  # 4 steps an epoch
    expected = 0.8 * (1 - torch.arange(8.0) / 8)
    assert torch.tensor(rates).allclose(expected[:, None].expand(8, 4))
    rates.clear()
    factors = {"first_lr_factor": 0.25, "inner_lr_factor": 0.5, "bias_lr_factor": 2.0}
    fit_curve(ExperimentConfig(epochs=1, lr=0.8, schedule="linear", **factors), patches)
    # The first layer, those between, the last one, and the biases
    expected = torch.outer(1 - torch.arange(4.0) / 4, torch.tensor([0.2, 0.4, 0.8, 1.6]))
    assert torch.tensor(rates).allclose(expected)


def test_weight_decay_is_of_the_weights_only(patches, monkeypatch):
    seen = {}  # number of dimensions of a parameter -> weight decay

    def note(sgd):
        for group in sgd.param_groups:
            for parameter in group["params"]:
                seen[parameter.ndim] = group["weight_decay"]

    monkeypatch.setattr(torch.optim.SGD, "step", note)
    fit_curve(ExperimentConfig(epochs=1, weight_decay=0.004), patches)
    assert seen == {4: 0.004, 2: 0.004, 1: 0}
    fit_curve(ExperimentConfig(epochs=1, weight_decay=0.004, last_decay_factor=250.0), patches)
    # layers-18pct.cfg: 1 in the fully connected layer, which is the last
    assert seen == {4: 0.004, 2: 1.0, 1: 0}


# Precision


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [("AVX2", torch.float32), ("DEFAULT", torch.float32), ("AVX512", torch.bfloat16)],
)
def test_bfloat16_only_where_it_is_fast(capability, dtype, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    conv, x = nn.Conv2d(3, 2, 3), torch.ones(1, 3, 4, 4)
    with autocast(x.device):
        assert conv(x).dtype == dtype and conv.weight.dtype == torch.float32


# Runs


def test_a_run_is_its_seed(patches):
    config = ExperimentConfig(epochs=2, net="half-small", dropout=0.5)
    curve = fit_curve(config, patches)
    assert curve == fit_curve(config, patches)
    assert curve != fit_curve(replace(config, seed=1), patches)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_it_learns(patches):
    curve = fit_curve(ExperimentConfig(epochs=30, lr=0.02), patches)
    assert curve["loss"][-1][-1] < 0.7 * curve["loss"][0][0]
    assert curve["train_error"][-1][-1] < curve["train_error"][0][0]


def test_an_epoch_visits_each_image_once_and_drops_an_incomplete_batch():
    images, visited = torch.arange(10.0)[:, None], []
    net = nn.Linear(1, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def note(batch):
        visited.extend(batch.flatten().tolist())
        return batch

    steps = list(train_one_epoch(net, optimizer, images, torch.zeros(10).long(), 4, note))
    assert len(steps) == 2 and len(visited) == len(set(visited)) == 8
    assert all(loss.ndim == error.ndim == 0 for loss, error in steps)


@pytest.mark.parametrize("order", ["shuffled", "fixed"])
def test_a_fixed_order_is_the_same_in_every_epoch(order, patches, monkeypatch):
    batches = []

    def note(*args):
        def note_batch(batch):
            batches.append(batch)
            return center(batch)

        _, center = make_augment(*args)
        return note_batch, center

    monkeypatch.setattr(fit_module, "make_augment", note)
    config = ExperimentConfig(crop=24, order=order, epochs=2)
    for seed in (0, 1):
        fit_curve(replace(config, seed=seed), patches)
    first, second, other_seed = (torch.cat(batches[i : i + 4]) for i in (0, 4, 8))
    assert first.equal(second) == (order == "fixed")
    assert not first.equal(other_seed)
    # Each image once, and not in the order of the data set, which is that of the classes
    assert not first.equal(patches.train_images)
    assert sorted(first.flatten(1).tolist()) == sorted(patches.train_images.flatten(1).tolist())


def test_an_epoch_has_a_step_in_each_quarter(patches):
    """With fewer steps, the mean of a quarter would be NaN, which reads as a diverged run."""
    config = ExperimentConfig(batch_size=33)
    message = r"^batch_size must be at most a quarter of the 128 training images, got 33$"
    with pytest.raises(ValueError, match=message):
        fit(config, preprocess(patches), 8)
    fit(replace(config, batch_size=32, epochs=1), preprocess(patches), 8)


def test_it_stops_at_its_target(patches):
    curve = fit_curve(ExperimentConfig(epochs=5, target_train_error=1.1), patches)
    assert len(curve["test_error"]) == 1


def test_a_loss_that_is_not_finite_ends_the_run(patches):
    curve = fit_curve(ExperimentConfig(epochs=5, lr=1e12), patches)
    assert curve["loss"][-1][-1] is None and curve["test_error"][-1] is None
    assert len(curve["loss"]) < 5
    json.dumps(curve, allow_nan=False)


def test_a_loss_that_does_not_move_ends_the_run(patches):
    assert len(fit_curve(ExperimentConfig(epochs=6, lr=1e-9), patches)["loss"]) == 4
    config = ExperimentConfig(epochs=6, lr=0.03, norm="batch")
    assert len(fit_curve(config, patches)["loss"]) == 6


def test_a_run_learns_with_its_augmentation_and_is_tested_without(patches, monkeypatch):
    calls = []

    def noted(kind, images, crop, images_per_crop, pixels):
        calls.append((kind, crop, images_per_crop, pixels))
        augment, center = make_augment(kind, images, crop, images_per_crop, pixels)

        def noted_augment(batch):
            calls.append("augment")
            return augment(batch)

        def noted_center(batch):
            calls.append("center")
            return center(batch)

        return noted_augment, noted_center

    monkeypatch.setattr(fit_module, "make_augment", noted)
    config = ExperimentConfig(
        pixels="raw", crop=24, augment="crop", images_per_crop=2, schedule="linear", epochs=1
    )
    fit_curve(config, patches)
    # A hundred test images, four steps, the test images, the training images
    assert calls == [("crop", 24, 2, "raw"), "center", *["augment"] * 4, "center", "center"]


@pytest.mark.parametrize(("times", "tested"), [(1, 3), (2, 2), (3, 1)])
def test_how_often_the_test_error_is_measured(times, tested, patches):
    """After each of three epochs; less often where a test takes longer; the last one always."""
    images, labels, _, _ = preprocess(patches)
    data = (images, labels, images.repeat(times, 1, 1, 1), labels.repeat(times))
    curve = fit(ExperimentConfig(epochs=3, batch_size=32), data, 8)[1]
    assert len(curve["test_error"]) == tested and len(curve["loss"]) == 3


def test_what_a_run_on_crops_measures(patches):
    config = ExperimentConfig(crop=24, augment="color", schedule="linear", epochs=1)
    curve = fit_curve(config, patches)
    assert 0 <= curve["ten_crop_error"] <= 1 and curve["augment_share"] > 0


# Runs that hold images out


@pytest.mark.parametrize(
    ("epochs", "measured"), some_of([(1, [1]), (7, [3, 6, 7])], (7, [3, 6, 7]))
)
@pytest.mark.parametrize("test", some_of(["at the end", "never"], "at the end"))
def test_images_that_are_held_out(test, epochs, measured, patches):
    """The errors on them are in the curve; the test images are used once, at the end, or never."""
    config = ExperimentConfig(
        net="two-column",
        test=test,
        crop=24,
        augment="flip",
        schedule="linear",
        batch_size=32,
        epochs=epochs,
    )
    images, labels, _, _ = data = preprocess(patches, config.pixels, config.crop)
    if test == "never":
        data = (images, labels, None, None)  # touching them would fail
    # Three tenths of the training images, so that every third epoch is followed by a measurement
    _, curve = fit(config, data, 8, (images[:40], labels[:40]))
    assert curve["held_out_epochs"] == measured
    assert len(curve["held_out_error"]) == len(curve["divisors"]) == len(measured)
    assert 0 <= curve["final_train_error"] <= 1
    at_the_end = {"test_top5_error", "ten_crop_error", "ten_crop_top5_error"}
    assert len(curve["test_error"]) == (test == "at the end")
    assert set(curve) & at_the_end == (at_the_end if test == "at the end" else set())


def test_a_run_that_diverged_is_not_tested(patches):
    config = ExperimentConfig(test="at the end", crop=24, batch_size=32, epochs=5, lr=1e12)
    images, labels, _, _ = preprocess(patches, config.pixels, config.crop)
    _, curve = fit(config, (images, labels, None, None), 8, (images, labels))
    assert curve["held_out_error"][-1] is None and curve["test_error"] == []
    assert len(curve["loss"]) < 5


def test_the_net_gets_crops_that_are_enlarged(patches, monkeypatch):
    sizes = set()

    def noted(config, num_classes, image_size):
        net = build_net(config, num_classes, image_size)
        net.register_forward_pre_hook(lambda module, inputs: sizes.add(tuple(inputs[0].shape[1:])))
        return net

    monkeypatch.setattr(fit_module, "build_net", noted)
    config = ExperimentConfig(net="first-layer", init="faint", crop=28, upscale=4, epochs=1)
    fit_curve(config, patches)
    assert sizes == {(3, 112, 112)}


# Measurements


def test_errors_are_those_of_the_net_in_evaluation_mode():
    class Moody(nn.Module):
        """Answers 0 in evaluation mode, and 1 in training."""

        def forward(self, x):
            return F.one_hot(torch.full((len(x),), int(self.training)), 2).float()

    net = Moody()
    assert error_rate(net, torch.zeros(3, 1), torch.zeros(3)) == 0 and net.training
    labels = torch.tensor([0, 1, 1])
    assert error_rate(net, torch.zeros(3, 1), labels) == pytest.approx(2 / 3)
    assert error_rate(lambda_net := nn.Identity(), -torch.eye(2), torch.tensor([0, 1])) == 1
    assert error_rate(lambda_net, -torch.eye(2), torch.tensor([0, 1]), torch.neg) == 0


def test_divisors_by_hand(patches):
    activities = torch.tensor([0.0, 100, 100, 100, 100, 100, 0])
    images = activities.view(1, 7, 1, 1).expand(1, 7, 2, 2)
    # 1e-4 times a sum of two or three squares
    net = nn.Sequential(nn.Identity(), LocalResponseNorm(3, alpha=3e-4))
    [found] = lrn_divisors(net, images)
    assert found == pytest.approx([4**0.75, 5**0.75, 5**0.75], abs=1e-4)
    assert not net[1]._forward_hooks
    assert lrn_divisors(net, 0 * images) == [[None] * 3]
    assert lrn_divisors(net[:1], images) == []
    rows = fit_curve(ExperimentConfig(norm="paper's alpha", epochs=2), patches)["divisors"]
    assert [len(row) for row in rows] == [2, 2]
    assert all(1.68 < low <= middle <= high for row in rows for low, middle, high in row)
    assert "divisors" not in fit_curve(ExperimentConfig(epochs=1), patches)


def test_saturation_by_hand(patches):
    # A slope below a tenth at -4 and at 2; at 1.8 it is 0.104
    images = torch.tensor([[-4.0, 0, 1, 1.8], [0, 0, 1, 2]])
    net = nn.Sequential(nn.Tanh(), nn.Linear(4, 4), nn.Tanh())
    nn.init.zeros_(net[1].weight)
    nn.init.constant_(net[1].bias, 5)
    assert saturation(net, images) == [0.25, 1.0] and saturation(net[1:2], images) == []
    config = ExperimentConfig(activation="tanh", init="original", pixels="raw", epochs=2)
    rows = fit_curve(config, patches)["saturated"]
    assert [len(row) for row in rows] == [3, 3]
    assert "saturated" not in fit_curve(ExperimentConfig(epochs=1), patches)


def test_the_time_of_an_augmentation_that_takes_nearly_all_of_it():
    def slow(batch):
        time.sleep(0.01)
        return batch

    net = nn.Linear(1, 2)
    optimizer = torch.optim.SGD(net.parameters())
    labels = torch.zeros(40, dtype=torch.int64)
    fraction = augment_time_fraction(net, optimizer, torch.zeros(40, 1), labels, 2, slow)
    assert fraction > 0.3  # of twenty steps; one alone would be a twentieth


def test_the_five_best_of_seven():
    logits = torch.tensor([[7.0, 6, 5, 4, 3, 2, 1]]).repeat(4, 1)
    labels = torch.tensor([0, 4, 5, 6])
    assert topk_error_rates(nn.Identity(), logits, labels, lambda x: x) == (0.75, 0.5)


def test_ten_crops_by_a_net_that_sees_one_pixel():
    """Class 1 where the upper left pixel of a view is bright: in one view of ten, or in nine."""

    class Corner(nn.Module):
        def forward(self, x):
            bright = (x[:, 0, 0, 0] > 0.5).float()
            return torch.stack([1 - bright, bright], 1) * 9

    one_bright = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    one_bright[:, :, 0, 0] = 255
    images, labels = torch.cat([one_bright, 255 - one_bright]), torch.tensor([0, 1])
    assert topk_error_rates(Corner(), images, labels, lambda x: x / 255, 24) == (0, 0)
    assert topk_error_rates(Corner(), images, 1 - labels, lambda x: x / 255, 24) == (1, 0)
