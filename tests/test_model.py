import itertools
import pickle

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import func, nn
from torch.autograd import forward_ad
from torch.nn import functional as F
from torchvision.models.feature_extraction import create_feature_extractor

from alexnet import VARIANTS, AlexNet, LocalResponseNorm, TwoGPUAlexNet
from alexnet.anatomy import anatomy
from alexnet.lrn import MapNorm
from helpers import export_to_onnx, some_of

PARAMETERS = {
    "paper": 60_965_224,
    "single-column": 62_378_344,
    "one-gpu": 59_798_312,
    "torchvision": 61_100_840,
    "original-code": 60_965_224,
}


def on_meta(*args, **kwargs) -> AlexNet:
    """A net without values, which takes no time to build."""
    with torch.device("meta"):
        return AlexNet(*args, **kwargs)


@pytest.mark.parametrize("variant", PARAMETERS)
def test_parameter_counts(variant):
    assert sum(p.numel() for p in on_meta(variant=variant).parameters()) == PARAMETERS[variant]


def test_small_has_about_a_million_parameters():
    assert 0.9e6 < sum(p.numel() for p in on_meta(10, "small").parameters()) < 1.1e6


@pytest.mark.parametrize("variant", PARAMETERS)
def test_conv1_has_55_positions(variant):
    x = torch.empty(1, 3, 224, 224, device="meta")
    for module in on_meta(variant=variant).features:
        x = module(x)
        if isinstance(module, nn.Conv2d):
            break
    assert x.shape[2:] == (55, 55)


def test_paper_pads_three_zeros_right_and_below():
    """layer.py rounds the number of windows up: 1 + ceil((224 - 11) / 4) = 55."""
    features = AlexNet(10, hidden=8).features
    images = torch.rand(1, 3, 224, 224)
    ours = features.conv1(features.pad1(images))
    windows = (
        F.pad(images, (0, 3, 0, 3)).unfold(2, 11, 4).unfold(3, 11, 4)
    )  # (1, 3, 55, 55, 11, 11)
    weight, bias = features.conv1.weight, features.conv1.bias
    by_hand = torch.einsum("nchwij,ocij->nohw", windows, weight) + bias[:, None, None]
    assert windows.shape[2:4] == (55, 55)
    torch.testing.assert_close(ours, by_hand, atol=1e-5, rtol=1e-5)
    # The first window starts at the first pixel: no zeros on the left or above.
    corner = (images[:, None, :, :11, :11] * weight).sum((2, 3, 4))
    torch.testing.assert_close(ours[..., 0, 0], corner, atol=1e-5, rtol=1e-5)


def weighted_layers(model):
    """conv1 to fc8."""
    return [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


@pytest.mark.slow
def test_paper_is_initialized_as_in_section_5():
    torch.manual_seed(0)
    layers = weighted_layers(AlexNet())
    assert len(layers) == 8
    for n, layer in enumerate(layers, start=1):
        assert layer.weight.mean().abs() < 5 * 0.01 / layer.weight.numel() ** 0.5
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.02)
        assert (layer.bias == (1 if n in (2, 4, 5, 6, 7) else 0)).all()


def test_original_code_is_initialized_as_in_its_files():
    """layers-145.cfg: N(0, 0.03) in conv3 to conv5; the biases are the paper's."""
    torch.manual_seed(0)
    layers = weighted_layers(AlexNet(variant="original-code", hidden=512))
    stds = [layer.weight.std().item() for layer in layers]
    expected = [0.01, 0.01, 0.03, 0.03, 0.03, 0.01, 0.01, 0.01]
    assert stds == pytest.approx(expected, rel=0.02)
    assert [layer.bias.unique().item() for layer in layers] == [0, 1, 0, 1, 1, 1, 1, 0]


@pytest.mark.slow
def test_torchvision_variant_equals_torchvisions_net_bit_for_bit():
    torch.manual_seed(0)
    reference = torchvision.models.alexnet().eval()
    ours = AlexNet(variant="torchvision").eval()
    assert list(ours.state_dict()) == list(reference.state_dict())
    ours.load_state_dict(reference.state_dict())
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(ours(images), reference(images))
        small_images = images[..., :100, :130]  # adaptive pooling takes them
        assert torch.equal(ours(small_images), reference(small_images))
    ours.train()
    reference.train()
    with torch.no_grad():  # dropout in the same places: the same seed gives the same logits
        torch.manual_seed(1)
        logits = ours(images)
        torch.manual_seed(1)
        assert torch.equal(logits, reference(images))


def test_both_forms_of_dropout_have_the_same_expectation():
    """Section 4.2 halves the outputs in testing; the net doubles them in training instead.

    At p = 0.5 all masks are equally likely, and halves and small integers are exact. So the mean
    over the masks is exact too.
    """
    drop = AlexNet(10, "small").classifier.drop6
    outputs = torch.tensor([3.0, 1, 4, 7, 2, 5])
    weights = torch.tensor([1.0, -2, 3, 1, 2, -1])
    masks = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)))  # (64, 6)
    torch.manual_seed(0)
    drawn = drop(outputs.expand(4096, 6)).unique(dim=0)
    assert torch.equal(drawn, (masks * outputs * 2).unique(dim=0))
    mean_today = (drawn @ weights).mean()
    mean_in_2012 = (masks * outputs @ weights).mean()
    assert mean_today == drop.eval()(outputs) @ weights
    assert mean_in_2012 == 0.5 * outputs @ weights


def lrn_by_hand(x, alpha=1e-4, n=5, k=2.0, beta=0.75):
    """The formula of section 3.3, as printed: alpha is not divided by n. x: (N, C, H, W)."""
    squares = F.pad(x**2, (0, 0, 0, 0, n // 2, n // 2)).unfold(1, n, 1).sum(-1)
    return x / (k + alpha * squares) ** beta


def two_columns(model, images, leak=False):
    """The paper's net written out, a column for each GPU. With ``leak``, LRN sees both columns."""
    halves = {}  # weights and biases of the two columns
    for name, layer in [*model.features.named_children(), *model.classifier.named_children()]:
        if hasattr(layer, "weight"):
            halves[name] = (layer.weight.chunk(2), layer.bias.chunk(2))

    def conv(name, inputs, **kwargs):
        return [F.relu(F.conv2d(x, w, b, **kwargs)) for x, w, b in zip(inputs, *halves[name])]

    def norm(maps):
        if leak:
            return lrn_by_hand(torch.cat(maps, 1)).chunk(2, 1)
        return [lrn_by_hand(m) for m in maps]

    def pool(maps):
        return [F.max_pool2d(m, 3, 2) for m in maps]

    def linear(name, x):
        outputs = [F.linear(x, w, b) for w, b in zip(*halves[name])]
        return F.relu(torch.cat(outputs, 1))

    image = F.pad(images, (0, 3, 0, 3))
    maps = pool(norm(conv("conv1", [image, image], stride=4)))
    maps = pool(norm(conv("conv2", maps, padding=2)))
    maps = conv("conv3", [torch.cat(maps, 1)] * 2, padding=1)  # the GPUs communicate
    maps = conv("conv4", maps, padding=1)
    maps = pool(conv("conv5", maps, padding=1))
    x = linear("fc7", linear("fc6", torch.cat(maps, 1).flatten(1)))
    fc8 = model.classifier.fc8
    return F.linear(x, fc8.weight, fc8.bias)


@pytest.mark.slow
def test_paper_equals_two_columns_written_out():
    torch.manual_seed(0)
    model = AlexNet(10).double().eval()
    with torch.no_grad():
        model.features.conv1.weight *= 100  # activations of 30 and more, so that LRN matters
        images = torch.randn(1, 3, 224, 224, dtype=torch.float64) * 3
        assert F.relu(model.features.conv1(model.features.pad1(images))).max() > 30
        logits = model(images)
        torch.testing.assert_close(logits, two_columns(model, images), rtol=1e-9, atol=1e-9)
        leaky = two_columns(model, images, leak=True)
        assert (logits - leaky).abs().max() > 1e-4 * logits.abs().max()  # a leak would show


def written_out_as_run_145(model, images):
    """layers-145.cfg and layer-params-145.cfg, layer by layer, a column for each GPU."""
    f, c = model.features, model.classifier

    def conv(name, inputs, **kwargs):
        layer = getattr(f, name)
        halves = zip(inputs, layer.weight.chunk(2), layer.bias.chunk(2))
        return [F.conv2d(x, w, b, **kwargs) for x, w, b in halves]

    def within(maps):
        squares = F.pad(maps**2, (2, 2, 2, 2)).unfold(2, 5, 1).unfold(3, 5, 1).sum((-1, -2))
        return maps / (1 + 0.001 / 25 * squares) ** 0.75

    def relu(maps):
        return [F.relu(m) for m in maps]

    def norm(maps):
        return [lrn_by_hand(m, alpha=0.0001 / 5) for m in maps]

    def pool(maps):
        return [F.max_pool2d(m, 3, 2) for m in maps]

    image = F.pad(images, (0, 3, 0, 3))
    maps = relu(pool(norm(conv("conv1", [image, image], stride=4))))
    maps = pool([within(m) for m in norm(relu(conv("conv2", maps, padding=2)))])
    maps = relu(conv("conv3", [torch.cat(maps, 1)] * 2, padding=1))
    maps = relu(conv("conv4", maps, padding=1))
    maps = relu(pool(conv("conv5", maps, padding=1)))
    x = F.relu(F.linear(torch.cat(maps, 1).flatten(1), c.fc6.weight, c.fc6.bias))
    return F.linear(F.relu(F.linear(x, c.fc7.weight, c.fc7.bias)), c.fc8.weight, c.fc8.bias)


def test_original_code_equals_its_files_written_out():
    torch.manual_seed(0)
    model = AlexNet(10, "original-code", hidden=64).double().eval()
    paper = AlexNet(10, "paper", hidden=64).double().eval()
    paper.load_state_dict(model.state_dict())  # the names are the same
    with torch.no_grad():
        for net in (model, paper):
            net.features.conv1.weight *= 100
            net.features.conv2.weight *= 10  # so that normalization within maps matters too
        images = torch.randn(1, 3, 224, 224, dtype=torch.float64) * 3
        logits = model(images)
        expected = written_out_as_run_145(model, images)
        torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)
        assert (
            logits - paper(images)
        ).abs().max() > 1e-2 * logits.abs().max()  # any of the differences would show
        two_gpus = TwoGPUAlexNet.from_alexnet(model, ("cpu", "cpu"))
        torch.testing.assert_close(two_gpus(images), logits, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("override", [{"act_last": ()}, {"within_map": False}, {"lrn_alpha": 5e-4}])
def test_each_part_of_original_code_changes_the_logits(override):
    torch.manual_seed(0)
    code = AlexNet(10, "original-code", hidden=64).eval()
    other = AlexNet(10, "original-code", hidden=64, **override).eval()
    other.load_state_dict(code.state_dict())
    with torch.no_grad():
        for net in (code, other):
            net.features.conv1.weight *= 100
            net.features.conv2.weight *= 10
        images = torch.randn(1, 3, 224, 224) * 3
        assert (code(images) - other(images)).abs().max() > 1e-3 * code(images).abs().max()


def test_anatomy_of_original_code():
    """The paper's layers and MapNorm: as many neurons, and larger receptive fields behind it."""
    code = anatomy(on_meta(variant="original-code"), 224)
    paper = anatomy(on_meta(variant="paper"), 224)
    order = ["pad1", "conv1", "norm1", "pool1", "act1"]
    order += ["conv2", "act2", "norm2", "mapnorm2", "pool2"]
    assert [info.name for info in code][: len(order)] == order
    assert len(code) == len(paper) + 1 and code.total.neurons == paper.total.neurons
    fields = {info.name: info.receptive_field for info in paper}
    for info in code:
        if info.name in ("conv1", "norm1", "pool1", "conv2", "act2", "norm2"):
            assert info.receptive_field == fields[info.name]
        elif info.name in ("pool2", "conv3", "conv4", "conv5"):
            # A window of 5×5 whose positions are eight pixels apart sees 32 more
            assert info.receptive_field == fields[info.name] + 32


def test_lrn_false_leaves_out_both_normalizations():
    """Run 148 of the logs."""
    model = on_meta(variant="original-code", lrn=False)
    assert not any(isinstance(m, LocalResponseNorm | MapNorm) for m in model.modules())


@pytest.mark.slow
def test_small_learns_on_the_cpu():
    torch.manual_seed(0)
    model = AlexNet(4, "small", dropout=0.0)
    labels = torch.arange(16) % 4
    patterns = F.interpolate(torch.randn(4, 3, 4, 4), 32)  # one for each class
    images = patterns[labels] + 0.3 * torch.randn(16, 3, 32, 32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.005, momentum=0.9)
    for _ in range(30):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
    assert loss < 0.1 and (model.eval()(images).argmax(1) == labels).all()


def kinds(model):
    """Classes of the layers, without padding."""
    leaves = [m for m in model.modules() if not list(m.children())]
    return [type(m) for m in leaves if not isinstance(m, nn.ZeroPad2d)]


def test_small_has_the_papers_layers_in_its_order():
    assert kinds(on_meta(10, "small")) == kinds(on_meta(10, "paper"))
    assert on_meta(10, "small").config.groups == VARIANTS["paper"].groups


@pytest.mark.parametrize("variant", ["paper", "small"])
def test_overrides_change_the_layers(variant):
    def modules(kind, **overrides):
        return [m for m in on_meta(10, variant, **overrides).modules() if isinstance(m, kind)]

    assert len(modules(nn.Tanh, activation="tanh")) == 7
    assert len(modules(nn.ReLU, activation="tanh")) == 0
    assert len(modules(LocalResponseNorm)) == 2
    assert len(modules(LocalResponseNorm, lrn=False)) == 0
    assert all(m.p == 0.2 for m in modules(nn.Dropout, dropout=0.2))
    assert {m.kernel_size for m in modules(nn.MaxPool2d, pool=(2, 2))} == {2}
    connected = modules(nn.Conv2d | LocalResponseNorm, groups=(1, 1, 1, 1, 1))
    assert {m.groups for m in connected} == {1}


@pytest.mark.parametrize("variant", ["paper", "small"])
def test_pooling_without_overlap_keeps_the_number_of_parameters(variant):
    """Section 3.4: the output is as large."""
    overlapping, plain = on_meta(10, variant), on_meta(10, variant, pool=(2, 2))
    counts = [sum(p.numel() for p in model.parameters()) for model in (overlapping, plain)]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("variant", VARIANTS)
@given(size=st.integers(1, 300))
@settings(deadline=None, max_examples=25)
def test_the_accepted_sizes_are_those_that_run(variant, size):
    model = on_meta(10, variant)
    images = torch.empty(2, 3, size, size, device="meta")
    if size in model.sizes:
        assert model(images).shape == (2, 10)
    else:
        with pytest.raises(ValueError, match=f"got {size}×{size}"):
            model(images)


# Derivatives, tracers and exporters

CONFIGURATIONS = {
    "small": {},
    "small, as the original code": {"act_last": (1, 5), "within_map": True},
    "small, connected": {"groups": (1,) * 5},
}


def make_small(name, dtype=torch.float32):
    """A net for images of 32×32, with activations so large that normalization matters."""
    torch.manual_seed(0)
    net = AlexNet(10, "small", hidden=16, **CONFIGURATIONS[name]).to(dtype).eval()
    with torch.no_grad():
        net.features.conv1.weight *= 30
    return net


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_forward_mode_agrees_with_backward_passes(name):
    """⟨w, J v⟩ = ⟨Jᵀ w, v⟩ for tangents v of the images and of the weights."""
    net = make_small(name, torch.float64)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    primals = (dict(net.named_parameters()), images)
    tangents = (
        {key: torch.randn_like(p) for key, p in primals[0].items()},
        torch.randn_like(images),
    )

    def logits(parameters, images):
        return func.functional_call(net, parameters, (images,))

    y, tangent = func.jvp(logits, primals, tangents)
    weights = torch.randn_like(y)
    leaves = [*net.parameters(), images.requires_grad_()]
    gradients = torch.autograd.grad(net(images), leaves, weights)
    directions = [*tangents[0].values(), tangents[1]]
    expected = sum((g * t).sum() for g, t in zip(gradients, directions, strict=True))
    assert expected.abs() > 1e-3
    torch.testing.assert_close((weights * tangent).sum(), expected)
    with forward_ad.dual_level():
        dual = net(forward_ad.make_dual(images.detach(), tangents[1]))
        by_dual_numbers = forward_ad.unpack_dual(dual).tangent
    _, of_images = func.jvp(net, (images.detach(),), (tangents[1],))
    torch.testing.assert_close(by_dual_numbers, of_images)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_gradients_of_each_image_are_those_of_a_loop(name):
    """functional_call, grad and vmap, as for differential privacy."""
    net = make_small(name)
    images = torch.randn(3, 3, 32, 32)
    labels = torch.tensor([1, 2, 3])

    def loss(parameters, image, label):
        logits = func.functional_call(net, parameters, (image[None],))
        return F.cross_entropy(logits, label[None])

    parameters = dict(net.named_parameters())
    gradients = func.vmap(func.grad(loss), (None, 0, 0))(parameters, images, labels)
    for i in range(3):
        F.cross_entropy(net(images[i : i + 1]), labels[i : i + 1]).backward()
        for key, parameter in parameters.items():
            atol = 1e-4 * parameter.grad.abs().max().item()
            torch.testing.assert_close(gradients[key][i], parameter.grad, rtol=1e-3, atol=atol)
        net.zero_grad()


def test_an_ensemble_of_nets_runs_at_once():
    nets = [make_small("small"), make_small("small")]
    with torch.no_grad():
        nets[1].classifier.fc8.weight *= -1
    images = torch.randn(2, 3, 32, 32)
    parameters, buffers = func.stack_module_state(nets)

    def logits(parameters, buffers):
        return func.functional_call(nets[0], (parameters, buffers), (images,))

    expected = torch.stack([net(images) for net in nets])
    torch.testing.assert_close(func.vmap(logits)(parameters, buffers), expected)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_products_with_the_hessian_agree(name):
    """Forward over reverse, and backward twice."""
    net = make_small(name, torch.float64)
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    direction = torch.randn_like(images)

    def loss(images):
        return net(images).square().sum()

    _, product = func.jvp(func.grad(loss), (images,), (direction,))
    _, expected = torch.autograd.functional.hvp(loss, images, direction)
    assert expected.abs().max() > 1e-6
    torch.testing.assert_close(product, expected)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("training", [True, False])
def test_torchvision_extracts_the_features_of_every_variant(variant, training):
    net = AlexNet(10, variant, hidden=8).train(training)
    size = net.config.input_size
    images = torch.randn(1, 3, size, size)
    with torch.no_grad():
        extractor = create_feature_extractor(net, ["features", "classifier"])
        torch.testing.assert_close(extractor(images)["features"], net.features(images))
    with pytest.raises(ValueError, match=rf"variant '{variant}' takes .*, got 8×9"):
        extractor(torch.zeros(1, 3, 8, 9))


def test_torch_fx_traces_the_net_with_its_checks():
    net = make_small("small, as the original code")
    traced = pickle.loads(pickle.dumps(torch.fx.symbolic_trace(net)))
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(traced(images), net(images))
    with pytest.raises(ValueError, match="takes images of 32×32"):
        traced(torch.zeros(1, 3, 99, 99))
    with pytest.raises(ValueError, match=r"must be RGB, .* got \(1, 1, 32, 32\)"):
        traced(torch.zeros(1, 1, 32, 32))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("error::torch.jit.TracerWarning")
def test_torch_jit_traces_the_net_for_any_number_of_images():
    net = make_small("small, as the original code")
    images = torch.randn(2, 3, 32, 32)
    traced = torch.jit.trace(net, images)
    torch.testing.assert_close(traced(images[:1]), net(images[:1]), rtol=1e-4, atol=1e-3)


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("variant", ["small", "original-code", "torchvision"])
def test_torch_export_takes_any_number_of_images(variant):
    net = AlexNet(10, variant, hidden=8).eval()
    size = net.config.input_size
    images = torch.randn(3, 3, size, size)
    shapes = {0: torch.export.Dim.DYNAMIC}
    if (
        variant == "torchvision"
    ):  # images of other sizes too, with more than one position at the end
        shapes |= {2: torch.export.Dim("height", min=95), 3: torch.export.Dim("width", min=95)}
    program = torch.export.export(net, (images,), dynamic_shapes=(shapes,)).module()
    torch.testing.assert_close(program(images[:2]), net(images[:2]))
    if variant == "torchvision":
        torch.testing.assert_close(program(images[..., :99, :150]), net(images[..., :99, :150]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("error::torch.jit.TracerWarning")
@pytest.mark.parametrize(
    "variant, dynamo",
    some_of(
        [
            *((variant, False) for variant in VARIANTS),
            *((variant, True) for variant in ("small", "original-code", "torchvision")),
        ],
        ("paper", False),
        ("small", True),
    ),
)
def test_onnx_computes_the_logits_of_the_net(variant, dynamo, tmp_path):
    torch.manual_seed(0)
    net = AlexNet(10, variant, hidden=8).eval()
    size = net.config.input_size
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        net.features[1 if "pad1" in dict(net.features.named_children()) else 0].weight *= 30
        run = export_to_onnx(net, images, tmp_path / "net.onnx", dynamo)
        for batch in (images, images[:1]):
            logits = net(batch)
            assert logits.abs().max() > 1e-6
            atol = 1e-4 * logits.abs().max().item()
            torch.testing.assert_close(run(batch), logits, rtol=1e-4, atol=atol)


UINT8 = torch.zeros(1, 3, 224, 224, dtype=torch.uint8)


@pytest.mark.parametrize(
    "make, error, message",
    [
        (
            lambda: AlexNet(variant="papper"),
            ValueError,
            "unknown variant 'papper': choose one of paper, original-code",
        ),
        (
            lambda: AlexNet(colour=1),
            TypeError,
            "unknown override 'colour': choose one of input_size",
        ),
        (
            lambda: AlexNet(activation="gelu"),
            ValueError,
            "unknown activation 'gelu': choose one of relu, tanh, sigmoid",
        ),
        (
            lambda: AlexNet(init="glorot"),
            ValueError,
            "unknown init 'glorot': choose one of paper, he, torch",
        ),
        (
            lambda: AlexNet(groups=(2, 1, 1, 1, 1)),
            ValueError,
            "maps of conv1 must be multiples of its 2 groups, got 3 and 96",
        ),
        (
            lambda: AlexNet(variant="torchvision", input_size=32),
            ValueError,
            "input_size must be >= 63, or pooling leaves nothing, got 32",
        ),
        (lambda: AlexNet(0), ValueError, "num_classes must be >= 1, got 0"),
        (
            lambda: AlexNet(10, "small", input_size=8),
            ValueError,
            "input_size must be >= 16, or pooling leaves nothing, got 8",
        ),
        (
            lambda: on_meta()(torch.zeros(1, 1, 224, 224)),
            ValueError,
            r"images must be RGB, of shape \(N, 3, H, W\), got \(1, 1, 224, 224\)",
        ),
        (lambda: on_meta()(torch.zeros(3, 224, 224)), ValueError, r"got \(3, 224, 224\)"),
        (
            lambda: on_meta()(UINT8),
            ValueError,
            r"must be floating point, got torch.uint8: convert them with images.float\(\)",
        ),
        (
            lambda: on_meta()(torch.zeros(1, 3, 224, 32)),
            ValueError,
            r"takes images of 224×224 pixels \(accepted: 224 to 255\), got 224×32",
        ),
        (
            lambda: on_meta(variant="torchvision")(torch.zeros(1, 3, 32, 32)),
            ValueError,
            r"\(accepted: 63 or more\), got 32×32",
        ),
    ],
)
def test_errors_name_the_rule_and_what_was_got(make, error, message):
    with pytest.raises(error, match=message):
        make()
