"""The two columns on two devices: the CPU twice here, two GPUs that are not there in FakeTensorMode, real ones where they are."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from alexnet import AlexNet, TwoGPUAlexNet
from alexnet.two_gpu import count_traffic

CPUS = ("cpu", "cpu")


def pair(variant="small", classes=10, seed=0, **switches):
    """A grouped net and the same in two columns; activations so large that the normalisation matters."""
    torch.manual_seed(seed)
    grouped = AlexNet(classes, variant, dropout=0.0, **switches)
    with torch.no_grad():
        grouped.features.conv1.weight *= 30
    return grouped, TwoGPUAlexNet.from_alexnet(grouped, CPUS)


def images(n, size=32, seed=1):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def gradients(model, x):
    """Logits, and all gradients by the grouped net's names."""
    model.zero_grad()
    logits = model(x)
    logits.square().mean().backward()
    if isinstance(model, AlexNet):
        return logits.detach(), {key: p.grad for key, p in model.named_parameters()}
    parts = {}
    for column in model.columns:
        for name, layer in column.items():
            for kind, p in layer.named_parameters():
                place = "features" if name.startswith("conv") else "classifier"
                parts.setdefault(f"{place}.{name}.{kind}", []).append(p.grad)
    return logits.detach(), {key: torch.cat(grads) for key, grads in parts.items()}


def agree(ours, theirs):
    (logits, grads), (expected, expected_grads) = ours, theirs
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())
    assert grads.keys() == expected_grads.keys()
    for key, grad in grads.items():
        torch.testing.assert_close(grad, expected_grads[key], rtol=1e-3, atol=1e-5 * expected_grads[key].abs().max().item(), msg=key)


@given(n=st.integers(1, 9), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=10)
def test_outputs_and_gradients_are_the_grouped_nets(n, seed):
    grouped, columns = pair(seed=seed)
    agree(gradients(columns, images(n)), gradients(grouped, images(n)))


def test_the_net_of_the_paper():
    grouped, columns = pair("paper", classes=1000)
    agree(gradients(columns, images(2, 224)), gradients(grouped, images(2, 224)))
    assert sum(p.numel() for p in columns.parameters()) == 60_965_224


def test_five_steps_keep_them_together():
    grouped, columns = pair()
    optimizers = [torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9) for model in (grouped, columns)]
    labels = torch.arange(8) % 10
    for step in range(5):
        losses = []
        for model, optimizer in zip((grouped, columns), optimizers):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images(8, seed=step)), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for (key, ours), theirs in zip(columns.to_alexnet().state_dict().items(), grouped.state_dict().values()):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5, msg=key)


@pytest.mark.parametrize("switches", [{}, {"activation": "tanh"}, {"lrn": False}, {"pool": (2, 2)}, {"groups": (1, 2, 2, 2, 2)}])
def test_there_and_back_without_loss(switches):
    grouped = AlexNet(7, "small", **switches).eval()
    back = TwoGPUAlexNet.from_alexnet(grouped, CPUS).to_alexnet()
    assert back.config == grouped.config and not back.training
    state = back.state_dict()
    assert all(state[key].equal(value) for key, value in grouped.state_dict().items())
    assert back.features.conv1.weight.data_ptr() != grouped.features.conv1.weight.data_ptr()


def test_the_type_stays_and_no_number_is_drawn():
    columns = TwoGPUAlexNet.from_alexnet(AlexNet(7, "small").double(), CPUS)
    state = torch.get_rng_state()
    assert columns.to_alexnet().classifier.fc8.weight.dtype == torch.float64
    assert torch.get_rng_state().equal(state)


def test_it_begins_like_the_grouped_net():
    torch.manual_seed(3)
    grouped = AlexNet(10, "small")
    torch.manual_seed(3)
    columns = TwoGPUAlexNet(10, CPUS, "small")
    assert columns.to_alexnet().classifier.fc8.weight.equal(grouped.classifier.fc8.weight)


def test_columns_that_never_talk():
    """No convolution reads both columns."""
    columns = TwoGPUAlexNet(10, CPUS, "small", groups=(1, 2, 2, 2, 2))
    assert columns.crossing == ["fc6", "fc7", "fc8"]
    with count_traffic() as crossed:
        columns(images(1))
    assert set(crossed["forward"]) == {"fc6", "fc7", "fc8"}


@given(n=st.integers(1, 6))
@settings(deadline=None, max_examples=6)
def test_bytes_that_cross(n):
    """conv3, fc6 and fc7 read both halves on both sides, so that each half crosses once; fc8 reads the second half only."""
    columns = TwoGPUAlexNet(10, CPUS, "small")
    conv2, conv5, hidden = 128 * 7 * 7, 128 * 3 * 3, 256  # numbers an image behind pool2 and pool5, and in fc6 and fc7
    expected = {"conv3": 4 * n * conv2, "fc6": 4 * n * conv5, "fc7": 4 * n * hidden, "fc8": 4 * n * hidden // 2}
    with count_traffic() as crossed:
        columns(images(n)).sum().backward()
    assert crossed == {"forward": expected, "backward": expected}
    with count_traffic() as outer:
        with count_traffic() as nothing:
            pass
        columns(images(n))
    assert nothing == {"forward": {}, "backward": {}} and outer["forward"] == expected


def test_bytes_of_the_paper():
    with FakeTensorMode(), count_traffic() as crossed:
        TwoGPUAlexNet()(torch.empty(128, 3, 224, 224))
    numbers = {"conv3": 256 * 13 * 13, "fc6": 256 * 6 * 6, "fc7": 4096, "fc8": 2048}
    assert crossed["forward"] == {layer: 128 * 4 * count for layer, count in numbers.items()}


def test_placement_without_gpus():
    """What is on a device is computed there, and a layer that is misplaced is caught."""
    with FakeTensorMode():
        model = TwoGPUAlexNet(variant="small", num_classes=10)
        for column, device in zip(model.columns, ("cuda:0", "cuda:1")):
            assert {str(p.device) for p in column.parameters()} == {device}
        assert str(model(torch.empty(2, 3, 32, 32)).device) == "cuda:0"
        model.columns[1]["conv4"] = nn.Conv2d(96, 96, 3, padding=1, device="cuda:0")
        with pytest.raises(Exception, match="cuda:0, cuda:1|cuda:1, cuda:0|[Uu]nhandled FakeTensor Device Propagation|same device"):
            model(torch.empty(2, 3, 32, 32))


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match="'one-gpu' with groups.*has not two columns: take 'paper' or 'small'"):
        TwoGPUAlexNet(10, CPUS, "one-gpu")
    with pytest.raises(ValueError, match="two devices, not 1: name one twice"):
        TwoGPUAlexNet(10, ("cpu",), "small")
    with pytest.raises(ValueError, match="takes images of 32×32"):
        TwoGPUAlexNet(10, CPUS, "small")(torch.zeros(1, 3, 8, 8))


gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.gpu
@gpu
def test_both_columns_on_one_gpu():
    grouped, columns = pair()
    on_gpu = TwoGPUAlexNet.from_alexnet(grouped, ("cuda", "cuda"))
    logits, grads = gradients(on_gpu, images(4))
    agree((logits.cpu(), {key: grad.cpu() for key, grad in grads.items()}), gradients(columns, images(4)))


@pytest.mark.gpu
@gpu
def test_nothing_waits_for_the_host():
    devices = ("cuda:0", f"cuda:{torch.cuda.device_count() - 1}")
    model, x = TwoGPUAlexNet(devices=devices), images(8, 224).to(devices[0])
    model(x).sum().backward()  # warm up
    torch.cuda.set_sync_debug_mode("error")
    try:
        model(x).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
