"""The two columns on two devices.

Here that is the CPU twice, two GPUs that FakeTensorMode pretends to have, and real ones if there
are any.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import func, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.nn import functional as F
from torchvision.models.feature_extraction import create_feature_extractor

from alexnet import AlexNet, TwoGPUAlexNet
from alexnet.two_gpu import count_traffic
from helpers import export_to_onnx, some_of

CPUS = ("cpu", "cpu")


def make_pair(variant="small", num_classes=10, seed=0):
    """A grouped net and the same in two columns; activations so large that LRN matters."""
    torch.manual_seed(seed)
    grouped = AlexNet(num_classes, variant, dropout=0.0)
    with torch.no_grad():
        grouped.features.conv1.weight *= 30
    return grouped, TwoGPUAlexNet.from_alexnet(grouped, CPUS)


def random_images(n, size=32, seed=1):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def logits_and_gradients(model, x):
    """Logits, and gradients by the names that the parameters have in the grouped net."""
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


def assert_results_close(actual, expected):
    """Compare two results of :func:`logits_and_gradients`."""
    logits, grads = actual
    expected_logits, expected_grads = expected
    atol = 1e-5 * expected_logits.abs().max().item()
    torch.testing.assert_close(logits, expected_logits, rtol=1e-4, atol=atol)
    assert grads.keys() == expected_grads.keys()
    for key, expected_grad in expected_grads.items():
        atol = 1e-5 * expected_grad.abs().max().item()
        torch.testing.assert_close(grads[key], expected_grad, rtol=1e-3, atol=atol, msg=key)


@given(n=st.integers(1, 9), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=10)
def test_outputs_and_gradients_are_the_grouped_nets(n, seed):
    """In doubles, since in floats one of the seeds has a unit that rounding switches on or off."""
    grouped, columns = (net.double() for net in make_pair(seed=seed))
    x = random_images(n).double()
    assert_results_close(logits_and_gradients(columns, x), logits_and_gradients(grouped, x))


@pytest.mark.slow
def test_the_papers_net_equals_the_grouped_one():
    grouped, columns = make_pair("paper", num_classes=1000)
    x = random_images(2, 224)
    assert_results_close(logits_and_gradients(columns, x), logits_and_gradients(grouped, x))
    assert sum(p.numel() for p in columns.parameters()) == 60_965_224


def test_five_training_steps_give_the_same_weights():
    grouped, columns = make_pair()
    optimizers = []
    for model in (grouped, columns):
        optimizers.append(torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9))
    labels = torch.arange(8) % 10
    for step in range(5):
        losses = []
        for model, optimizer in zip((grouped, columns), optimizers):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(random_images(8, seed=step)), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    state = columns.to_alexnet().state_dict()
    for key, expected in grouped.state_dict().items():
        torch.testing.assert_close(state[key], expected, rtol=1e-3, atol=1e-5, msg=key)


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"activation": "tanh"},
        {"lrn": False},
        {"pool": (2, 2)},
        {"groups": (1, 2, 2, 2, 2)},
    ],
)
def test_conversion_to_columns_and_back_keeps_weights_configuration_and_mode(overrides):
    grouped = AlexNet(7, "small", **overrides).eval()
    back = TwoGPUAlexNet.from_alexnet(grouped, CPUS).to_alexnet()
    assert back.config == grouped.config and not back.training
    state = back.state_dict()
    assert all(state[key].equal(value) for key, value in grouped.state_dict().items())
    weights = [net.features.conv1.weight for net in (back, grouped)]
    assert weights[0].data_ptr() != weights[1].data_ptr()  # a copy


def test_to_alexnet_keeps_the_dtype_and_draws_no_random_number():
    columns = TwoGPUAlexNet.from_alexnet(AlexNet(7, "small").double(), CPUS)
    state = torch.get_rng_state()
    assert columns.to_alexnet().classifier.fc8.weight.dtype == torch.float64
    assert torch.get_rng_state().equal(state)


def test_a_seed_gives_the_weights_of_the_grouped_net():
    torch.manual_seed(3)
    grouped = AlexNet(10, "small")
    torch.manual_seed(3)
    columns = TwoGPUAlexNet(10, CPUS, "small")
    assert columns.to_alexnet().classifier.fc8.weight.equal(grouped.classifier.fc8.weight)


def test_without_a_connected_convolution_the_columns_exchange_before_fc6_only():
    columns = TwoGPUAlexNet(10, CPUS, "small", groups=(1, 2, 2, 2, 2))
    assert columns.exchange_before == ["fc6", "fc7", "fc8"]
    with count_traffic() as traffic:
        columns(random_images(1))
    assert set(traffic["forward"]) == {"fc6", "fc7", "fc8"}


@given(n=st.integers(1, 6))
@settings(deadline=None, max_examples=6)
def test_traffic_is_what_the_connected_layers_read(n):
    """conv3, fc6 and fc7 are on both devices, so that each half is copied once; fc8 is on one."""
    columns = TwoGPUAlexNet(10, CPUS, "small")
    pool2, pool5, hidden = 128 * 7 * 7, 128 * 3 * 3, 256  # values for each image
    values = {"conv3": pool2, "fc6": pool5, "fc7": hidden, "fc8": hidden // 2}
    expected = {layer: 4 * n * count for layer, count in values.items()}  # bytes
    with count_traffic() as traffic:
        columns(random_images(n)).sum().backward()
    assert traffic == {"forward": expected, "backward": expected}


def test_nested_counters_count_separately():
    columns = TwoGPUAlexNet(10, CPUS, "small")
    with count_traffic() as expected:
        columns(random_images(2))
    with count_traffic() as outer:
        with count_traffic() as inner:
            pass
        columns(random_images(2))
    assert inner == {"forward": {}, "backward": {}} and outer == expected


def test_traffic_of_the_papers_net():
    with FakeTensorMode(), count_traffic() as traffic:
        TwoGPUAlexNet()(torch.empty(128, 3, 224, 224))
    values = {"conv3": 256 * 13 * 13, "fc6": 256 * 6 * 6, "fc7": 4096, "fc8": 2048}
    expected = {layer: 128 * 4 * count for layer, count in values.items()}  # bytes of a batch
    assert traffic["forward"] == expected


# Other derivatives and function transforms


def by_dual_numbers(net, x, tangent):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(net(forward_ad.make_dual(x, tangent))).tangent


def hessian_product(net, x, tangent):
    """Forward over reverse."""
    return func.jvp(func.grad(lambda a: net(a).square().sum()), (x,), (tangent,))[1]


def backward_twice(net, x, tangent):
    return torch.autograd.functional.hvp(lambda a: net(a).square().sum(), x, tangent)[1]


def backward_with_a_batch(net, x, tangent):
    leaf = x.clone().requires_grad_()
    logits = net(leaf)
    grads = torch.eye(10).unsqueeze(1).expand(10, *logits.shape)
    return torch.autograd.grad(logits, leaf, grads, is_grads_batched=True)[0]


DERIVATIVES = {
    "dual numbers": by_dual_numbers,
    "func.jvp": lambda net, x, tangent: func.jvp(net, (x,), (tangent,))[1],
    "func.linearize": lambda net, x, tangent: func.linearize(net, x)[1](tangent),
    "func.grad": lambda net, x, tangent: func.grad(lambda a: net(a).square().sum())(x),
    "func.vjp": lambda net, x, tangent: func.vjp(net, x)[1](tangent[:, 0, 0, :10])[0],
    "func.jacrev": lambda net, x, tangent: func.jacrev(net)(x[:1]),
    "func.vmap": lambda net, x, tangent: func.vmap(net)(torch.stack([x, tangent])),
    "func.vmap of func.grad": lambda net, x, tangent: func.vmap(
        func.grad(lambda image: net(image[None]).square().sum())
    )(x),
    "forward over reverse": hessian_product,
    "backward twice": backward_twice,
    "backward, is_grads_batched": backward_with_a_batch,
}


@pytest.mark.parametrize("way", DERIVATIVES)
def test_derivatives_of_every_kind_are_the_grouped_nets(way):
    grouped, columns = make_pair()
    x = random_images(2)
    tangent = random_images(2, seed=2)
    expected = DERIVATIVES[way](grouped, x, tangent)
    atol = 1e-4 * expected.abs().max().item()
    assert atol > 0
    result = DERIVATIVES[way](columns, x, tangent)
    torch.testing.assert_close(result, expected, rtol=1e-3, atol=atol)


def test_gradients_of_each_image_are_those_of_a_loop_and_are_counted():
    _, columns = make_pair()
    images = random_images(3)
    labels = torch.tensor([1, 2, 3])

    def loss(parameters, image, label):
        logits = func.functional_call(columns, parameters, (image[None],))
        return F.cross_entropy(logits, label[None])

    parameters = dict(columns.named_parameters())
    with count_traffic() as traffic:
        gradients = func.vmap(func.grad(loss), (None, 0, 0))(parameters, images, labels)
    with count_traffic() as expected:
        F.cross_entropy(columns(images), labels).backward()
    assert traffic == expected
    for i in range(3):
        columns.zero_grad()
        F.cross_entropy(columns(images[i : i + 1]), labels[i : i + 1]).backward()
        for key, parameter in parameters.items():
            atol = 1e-4 * parameter.grad.abs().max().item()
            torch.testing.assert_close(
                gradients[key][i], parameter.grad, rtol=1e-3, atol=atol, msg=key
            )


def test_tangents_are_sent_beside_the_values():
    _, columns = make_pair()
    x = random_images(2)
    with count_traffic() as once:
        columns(x)
    with count_traffic() as traffic:
        func.jvp(columns, (x,), (x,))
    assert traffic["forward"] == {layer: 2 * count for layer, count in once["forward"].items()}
    assert traffic["backward"] == {}


def test_torchvision_extracts_features_of_a_column():
    _, columns = make_pair()
    x = random_images(2)
    extractor = create_feature_extractor(columns, ["columns.1.pool2", "columns.0.fc8"])
    with count_traffic() as traffic:
        outputs = extractor(x)
    torch.testing.assert_close(outputs["columns.0.fc8"], columns(x))
    assert outputs["columns.1.pool2"].shape == (2, 64, 7, 7)
    assert set(traffic["forward"]) == {"conv3", "fc6", "fc7", "fc8"}
    with pytest.raises(ValueError, match="takes images of 32×32"):
        extractor(torch.zeros(1, 3, 8, 8))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("error::torch.jit.TracerWarning")
@pytest.mark.parametrize(
    "dynamo", some_of([True, False], False), ids=["torch.export", "TorchScript"]
)
def test_onnx_computes_the_logits_of_both_columns(dynamo, tmp_path):
    _, columns = make_pair()
    columns.eval()
    x = random_images(3)
    run = export_to_onnx(columns, x, tmp_path / "net.onnx", dynamo)
    for images in (x, x[:1]):
        torch.testing.assert_close(run(images), columns(images), rtol=1e-4, atol=1e-2)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_compiled_net_gives_the_same_and_is_counted():
    grouped, columns = make_pair()
    x = random_images(2)
    compiled = torch.compile(columns, backend="aot_eager")
    with count_traffic() as traffic:
        logits = compiled(x)
        logits.sum().backward()
    torch.testing.assert_close(logits, grouped(x), rtol=1e-4, atol=1e-2)
    assert set(traffic["forward"]) == set(traffic["backward"]) == {"conv3", "fc6", "fc7", "fc8"}


def test_each_column_computes_on_its_device():
    """Without GPUs. A layer on the wrong device is an error, so that the test can fail."""
    with FakeTensorMode():
        model = TwoGPUAlexNet(variant="small", num_classes=10)
        for column, device in zip(model.columns, ("cuda:0", "cuda:1")):
            assert {str(p.device) for p in column.parameters()} == {device}
        assert str(model(torch.empty(2, 3, 32, 32)).device) == "cuda:0"
        model.columns[1]["conv4"] = nn.Conv2d(96, 96, 3, padding=1, device="cuda:0")
        message = "cuda:0, cuda:1|cuda:1, cuda:0|[Uu]nhandled FakeTensor Device|same device"
        with pytest.raises(Exception, match=message):
            model(torch.empty(2, 3, 32, 32))


def test_errors_name_the_rule_and_what_was_got():
    message = "must have two columns, got 'one-gpu' with groups .*: take 'paper' or 'small'"
    with pytest.raises(ValueError, match=message):
        TwoGPUAlexNet(10, CPUS, "one-gpu")
    with pytest.raises(ValueError, match="devices must be two, got 1: name one twice"):
        TwoGPUAlexNet(10, ("cpu",), "small")
    with pytest.raises(ValueError, match="takes images of 32×32"):
        TwoGPUAlexNet(10, CPUS, "small")(torch.zeros(1, 3, 8, 8))


gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.gpu
@gpu
def test_both_columns_on_one_gpu():
    grouped, columns = make_pair()
    on_gpu = TwoGPUAlexNet.from_alexnet(grouped, ("cuda", "cuda"))
    x = random_images(4)
    logits, grads = logits_and_gradients(on_gpu, x)
    grads = {key: grad.cpu() for key, grad in grads.items()}
    assert_results_close((logits.cpu(), grads), logits_and_gradients(columns, x))


@pytest.mark.gpu
@gpu
def test_nothing_synchronizes_with_the_host():
    devices = ("cuda:0", f"cuda:{torch.cuda.device_count() - 1}")
    model = TwoGPUAlexNet(devices=devices)
    x = random_images(8, 224).to(devices[0])
    model(x).sum().backward()  # warm up
    torch.cuda.set_sync_debug_mode("error")
    try:
        model(x).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
