"""What the net is trained on, the steps, and what is checked on the way."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch

from alexnet.loader import decode_image, resize_center_crop, scan_image_folder
from alexnet.model import VARIANTS
from alexnet.optim import PaperSGD
from alexnet.predictor import load
from alexnet.train import main
from alexnet.trainer import (
    TrainConfig,
    Trainer,
    compute_statistics,
    make_scheduler,
    make_trainer,
)
from helpers import exit_message, read_log, run_train


@pytest.fixture
def config(data_folder, tmp_path):
    return TrainConfig(
        data_folder, tmp_path / "run", variant="small", batch_size=16, device="cpu", workers=1
    )


def squares_of(folder):
    """The images as the loader gives them, (N, 3, 36, 36), from 0 to 1."""
    paths = scan_image_folder(folder).paths
    return torch.stack([resize_center_crop(decode_image(path), 36) for path in paths]) / 255


def test_the_defaults_are_those_of_the_paper(data_folder, tmp_path):
    config = TrainConfig(data_folder, tmp_path)
    assert (config.variant, config.batch_size, config.lr) == ("paper", 128, 0.01)
    assert (config.epochs, config.resize, config.crop) == (90, 256, 224)


def test_the_optimizer_is_that_of_the_paper(config):
    trainer = make_trainer(config)
    assert isinstance(trainer.optimizer, PaperSGD)
    weights, biases = trainer.optimizer.param_groups
    assert (weights["momentum"], weights["weight_decay"]) == (0.9, 5e-4)
    assert biases["weight_decay"] == 0.0
    assert {p.ndim for p in biases["params"]} == {1}
    assert 1 not in {p.ndim for p in weights["params"]}
    rates = []
    for _ in range(60):  # the error does not fall any more
        trainer.scheduler.step(0.5)
        rates.append(weights["lr"])
    assert sorted(set(rates)) == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2])


def test_the_constructor_touches_no_file(config, monkeypatch):
    """Made anew from the parts of another: no checkpoint, no scan, no statistics, no step."""
    made = make_trainer(config)
    files = {path: path.read_bytes() for path in config.out.iterdir()}
    monkeypatch.setattr("builtins.open", None)
    statistics = (made.predictor.mean, made.predictor.std, made.augment.pca)
    trainer = Trainer(config, made.data, made.net, statistics, torch.device("cpu"))
    monkeypatch.undo()
    assert (trainer.epoch, trainer.step, trainer.losses, trainer.history) == (0, 0, [], [])
    assert {path: path.read_bytes() for path in config.out.iterdir()} == files


def test_what_the_net_sees(config, data_folder):
    """The mean and the colors of the training set, as NumPy finds them; raw pixels where the
    paper's initialization wants them."""
    trainer = make_trainer(config)
    pixels = squares_of(data_folder / "train").double().numpy()  # (N, 3, 36, 36)
    mean, std = trainer.predictor.mean.numpy(), trainer.predictor.std.numpy().ravel()
    assert np.abs(mean - pixels.mean(0)[:, 2:34, 2:34]).max() < 1e-6
    assert np.abs(std - pixels.std((0, 2, 3), ddof=1)).max() < 1e-5
    variances = np.linalg.eigvalsh(np.cov(pixels.transpose(1, 0, 2, 3).reshape(3, -1)))
    assert np.abs(trainer.augment.pca.eigenvalues.numpy() - variances[::-1]).max() < 1e-6
    assert VARIANTS["paper"].init == "paper"
    object.__setattr__(config, "variant", "paper")
    raw = compute_statistics(trainer.data, config, quiet=True)
    assert raw.std.flatten().tolist() == pytest.approx([1 / 255] * 3)


def test_windows_flips_and_colors_of_two_epochs(config, data_folder, monkeypatch):
    """What the net is given, by hand from the draws of the epoch: for each image its own, and
    others in the next epoch."""
    seen, epochs = [], []
    monkeypatch.setattr(
        Trainer,
        "training_step",
        lambda self, x, labels: seen.append(x.clone()) or torch.tensor(0.0),
    )
    trainer = make_trainer(config)
    pixels = squares_of(data_folder / "train")
    mean, std, pca = trainer.predictor.mean, trainer.predictor.std, trainer.augment.pca
    for _ in range(2):
        draws = trainer._draw_epoch()
        epochs.append(draws)
        order, top, left, flip, alpha = draws
        speed = trainer.train_epoch()
        trainer._end_epoch(0.0, 0.0, speed)
        assert order.sort().values.equal(torch.arange(160))
        for draw in (top, left, flip, alpha):
            assert len(draw[order[:16]].unique()) > 1
        assert set(top.tolist()) == set(left.tolist()) == {0, 1, 2, 3, 4}
        assert alpha.std().item() == pytest.approx(0.1, rel=0.2)
        for i, x in zip(order, torch.cat(seen[-10:]), strict=True):
            window = pixels[i, :, top[i] : top[i] + 32, left[i] : left[i] + 32]
            window = window.flip(2) if flip[i] else window
            color = pca.eigenvectors @ (alpha[i] * pca.eigenvalues)
            expected = (window - mean + color[:, None, None]) / std
            torch.testing.assert_close(x, expected, rtol=0, atol=1e-5)
    assert len(seen) == 20
    assert not any(one.equal(other) for one, other in zip(*epochs, strict=True))


@pytest.mark.parametrize("amp, kind", [(None, torch.float32), ("bf16", torch.bfloat16)])
def test_bfloat16_where_it_is_asked_for(amp, kind, config):
    object.__setattr__(config, "amp", amp)
    trainer = make_trainer(config)
    seen = []
    trainer.net.features.conv1.register_forward_hook(
        lambda conv, _, maps: seen.extend([maps.dtype, conv.weight.dtype])
    )
    trainer.training_step(torch.zeros(16, 3, 32, 32), torch.zeros(16, dtype=torch.int64))
    assert seen == [kind, torch.float32]


def test_the_learning_rate_falls_when_the_error_stands_still(data_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "validate", lambda self: (0.25, 0.5))
    run_train(data_folder, tmp_path / "run", "--epochs", "3", "--patience", "0")
    rates = [entry["lr"] for entry in read_log(tmp_path / "run")]
    assert rates == pytest.approx([0.01, 0.01, 0.001])


# One cycle


def test_one_cycle_rises_to_the_rate_and_falls_to_nothing(data_folder, tmp_path):
    out = tmp_path / "cycle"
    run_train(data_folder, out, "--schedule", "one-cycle", "--lr", "0.02", "--epochs", "5")
    rates = [entry["lr"] for entry in read_log(out)]  # after each epoch
    assert rates[0] == pytest.approx(0.02, rel=0.01)  # a fifth of the steps
    assert rates == sorted(rates, reverse=True) and rates[-1] < 0.02 / 500


@pytest.mark.parametrize("steps", range(1, 12))
def test_one_cycle_of_a_few_steps(config, steps):
    """At five, a fifth is one step, which OneCycleLR takes for a rise of no length."""
    config = dataclasses.replace(config, schedule="one-cycle", epochs=1)
    optimizer = PaperSGD([torch.nn.Parameter(torch.ones(1))], lr=config.lr)
    scheduler = make_scheduler(optimizer, config, steps)
    rates = scheduler.get_last_lr()
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        rates += scheduler.get_last_lr()
    assert min(rates) > 0 and max(rates) <= config.lr * (1 + 1e-9)


def test_one_cycle_goes_on_in_the_middle(data_folder, tmp_path, monkeypatch):
    options = ["--schedule", "one-cycle", "--lr", "0.02", "--epochs", "2"]
    run_train(data_folder, tmp_path / "whole", *options)
    step, steps = Trainer.training_step, []

    def stop_after_one_epoch_and_three(self, x, labels):
        steps.append(step(self, x, labels))
        if len(steps) == self.data.steps + 3:
            raise KeyboardInterrupt
        return steps[-1]

    part = tmp_path / "part"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "training_step", stop_after_one_epoch_and_three)
        with pytest.raises(KeyboardInterrupt):
            run_train(data_folder, part, *options)
    run_train(data_folder, part, "--resume")  # the other options are as they were
    assert read_log(part) == read_log(tmp_path / "whole")
    message, code = exit_message(lambda: run_train(data_folder, part, "--resume", "--epochs", "3"))
    assert code == 1 and "was begun with --epochs 2, got 3" in message


# From trained weights


@pytest.fixture(scope="module")
def trained(data_folder, tmp_path_factory):
    """Weights of an epoch on the same images."""
    out = tmp_path_factory.mktemp("trained") / "run"
    run_train(data_folder, out, "--epochs", "1")
    return out / "model.safetensors"


def test_init_from_copies_all_layers_but_the_last(trained, data_folder, tmp_path):
    from_scratch = make_trainer(TrainConfig(data_folder, tmp_path / "a", "small", batch_size=16))
    config = TrainConfig(data_folder, tmp_path / "b", "small", str(trained), batch_size=16)
    trainer = make_trainer(config)
    source, weights = load(trained), trainer.net.state_dict()
    for name, tensor in source.model.state_dict().items():
        if "fc8" in name:
            assert torch.equal(weights[name], from_scratch.net.state_dict()[name])
        else:
            assert torch.equal(weights[name], tensor)
    assert torch.equal(trainer.predictor.mean, source.mean)
    assert torch.equal(trainer.predictor.std, source.std)


def test_init_from_takes_the_variant_of_the_weights(trained, data_folder, tmp_path):
    out = tmp_path / "run"
    options = ["--init-from", str(trained), "--epochs", "1", "--batch-size", "16"]
    main(["--data", str(data_folder), "--out", str(out), *options])
    assert load(out / "model.safetensors").model.variant == "small"
    main(["--data", str(data_folder), "--out", str(out), "--resume", "--epochs", "2"])
    assert len(read_log(out)) == 2


def test_init_from_another_variant(trained, data_folder, tmp_path):
    out = tmp_path / "run"
    options = ["--init-from", str(trained), "--variant", "paper"]
    message, code = exit_message(
        lambda: main(["--data", str(data_folder), "--out", str(out), *options])
    )
    assert code == 1 and "--variant must be small as in --init-from" in message
    assert not out.exists()


def test_init_from_squares_of_another_size(trained, data_folder, tmp_path):
    options = ["--init-from", str(trained), "--resize", "40"]
    message, code = exit_message(lambda: run_train(data_folder, tmp_path / "run", *options))
    assert code == 1 and "--resize and --crop must be 36 and 32" in message


def test_words_of_the_classes(data_folder, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(data_folder, data)
    names = sorted(path.name for path in (data / "train").iterdir())
    lines = [f"{name}\tthe words of {name}" for name in names]
    (data / "classes.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    run_train(data, tmp_path / "run", "--epochs", "1")
    for file in ("model.safetensors", "checkpoint.pt"):
        predictor = load(tmp_path / "run" / file)
        assert predictor.classes == tuple(names)
        assert predictor.class_name(1) == f"the words of {names[1]}"
