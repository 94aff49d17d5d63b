import copy
import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from alexnet import LocalResponseNorm
from alexnet.anatomy import anatomy
from alexnet.experiments.config import ExperimentConfig
from alexnet.experiments.nets import (
    NORMS,
    OVERRIDES,
    REMOVED_CONVS,
    REPLACEMENTS,
    FourLayerNet,
    build_net,
    first_layer_alexnet,
    half_small_alexnet,
    one_hidden_net,
    tiny_imagenet_alexnet,
    two_column_alexnet,
)
from alexnet.experiments.runner import RUNS
from alexnet.visualize import color_fraction


def weighted_layers(net):
    return [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


# The four-layer net


def test_the_four_layers():
    """layers-18pct.cfg: 32, 32 and 64 kernels of 5×5, three pooling layers, ten classes."""
    net = FourLayerNet(10)
    shapes = [tuple(layer.weight.shape) for layer in weighted_layers(net)]
    assert shapes == [(32, 3, 5, 5), (32, 32, 5, 5), (64, 32, 5, 5), (10, 1024)]
    pooling = [type(layer) for layer in net if "Pool" in type(layer).__name__]
    assert pooling == [nn.MaxPool2d, nn.AvgPool2d, nn.AvgPool2d]
    assert sum(p.numel() for p in net.parameters()) == 89_578


def test_the_layers_have_names_and_indices():
    names = "conv1 pool1 act1 conv2 act2 pool2 conv3 act3 pool3 flatten fc4"
    assert [name for name, _ in FourLayerNet(10).named_children()] == names.split()
    net = FourLayerNet(10, norm="paper's alpha")
    names = "conv1 pool1 act1 norm1 conv2 act2 pool2 norm2 conv3 act3 pool3 flatten fc4"
    assert [name for name, _ in net.named_children()] == names.split()
    assert net[0] is net.conv1 and net[-1] is net.fc4
    first = net[:3]
    assert type(first) is nn.Sequential and first.conv1 is net.conv1 and len(first) == 3


def test_the_net_is_in_channels_last():
    assert FourLayerNet(10).conv2.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("init", ["torch", "he", "original", "original, biases 1"])
def test_a_seed_gives_the_same_weights_with_a_configuration(init):
    torch.manual_seed(3)
    net = FourLayerNet(8, init=init)
    built = build_net(ExperimentConfig(init=init, seed=3), 8)
    assert str(net) == str(built)
    assert all(a.equal(b) for a, b in zip(net.parameters(), built.parameters(), strict=True))


@given(
    size=st.sampled_from([8, 16, 32, 40]),
    pool=st.sampled_from([(3, 2), (2, 2)]),
    norm=st.sampled_from(list(NORMS)),
)
@settings(deadline=None, max_examples=12)
def test_any_pooling_leaves_as_many_positions(size, pool, norm):
    net = build_net(ExperimentConfig(pool=pool, norm=norm), 5, image_size=size)
    assert net(torch.zeros(2, 3, size, size)).shape == (2, 5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"activation": "gelu"}, "activation must be one of .*, got 'gelu'"),
        ({"norm": "layer"}, "norm must be one of .*, got 'layer'"),
        ({"init": "xavier"}, "init must be one of .*, got 'xavier'"),
        ({"image_size": 30}, "image_size must be a multiple of 8, got 30"),
        ({"pool": (3, 3)}, "the stride of pool must be 2, got 3"),
    ],
)
def test_a_value_that_the_net_cannot_have(values, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        FourLayerNet(10, **values)


def test_initializations():
    layers = weighted_layers(build_net(ExperimentConfig(init="original"), 10))
    stds = [layer.weight.std().item() for layer in layers]
    assert stds == pytest.approx([1e-4, 0.01, 0.01, 0.01], rel=0.05)
    with_ones = build_net(ExperimentConfig(init="original, biases 1"), 10)
    with_zeros = build_net(ExperimentConfig(init="original"), 10)
    biases = [layer.bias.unique().item() for layer in weighted_layers(with_ones)]
    assert biases == [0, 1, 1, 0]
    biases = [layer.bias.unique().item() for layer in weighted_layers(with_zeros)]
    assert biases == [0, 0, 0, 0]
    assert with_ones[0].weight.equal(with_zeros[0].weight)


def test_an_initialization_for_four_layers_in_a_net_of_eight():
    with pytest.raises(ValueError, match="needs a net of four layers, got 8"):
        two_column_alexnet(10, init="original")


@pytest.mark.parametrize(
    ("init", "middle"), [("paper, by inputs", 0.01), ("code, by inputs", 0.03)]
)
def test_signals_begin_as_large_as_in_the_papers_net(init, middle):
    layers = weighted_layers(two_column_alexnet(10, init=init))
    inputs = [11 * 11 * 3, 5 * 5 * 48, 3 * 3 * 256, 3 * 3 * 192, 3 * 3 * 192, 9216, 4096, 4096]
    stds = [0.01, 0.01, middle, middle, middle, 0.01, 0.01, 0.01]
    for layer, number, std in zip(layers, inputs, stds, strict=True):
        gain = layer.weight.std().item() * layer.weight[0].numel() ** 0.5
        assert gain == pytest.approx(std * number**0.5, rel=0.06)
    biases = [layer.bias.unique().item() for layer in layers]
    assert biases == [0, 1, 0, 1, 1, 1, 1, 0]


def test_the_two_alphas():
    paper = FourLayerNet(10, norm="paper's alpha").norm1
    code = FourLayerNet(10, norm="code's alpha").norm1
    assert isinstance(paper, LocalResponseNorm) and isinstance(code, LocalResponseNorm)
    assert paper.alpha / paper.size == 1e-4 and code.alpha == 1e-4


def test_the_constant_alone():
    norm = FourLayerNet(10, norm="constant").norm1
    x = torch.randn(2, 32, 4, 4) * 100
    torch.testing.assert_close(norm(x), x / 2**0.75)


# The net with a hidden layer for dropout


def test_a_hidden_layer_between_convolutions_and_logits():
    net = one_hidden_net(6, dropout=0.5)
    names = "conv1 act1 pool1 conv2 act2 pool2 flatten fc3 act3 dropout3 fc4"
    assert [name for name, _ in net.named_children()] == names.split()
    shapes = [tuple(layer.weight.shape) for layer in weighted_layers(net)]
    assert shapes == [(8, 1, 5, 5), (16, 8, 5, 5), (128, 576), (6, 128)]
    assert net(torch.zeros(3, 1, 24, 24)).shape == (3, 6)
    names = names.replace("flatten", "flatten dropout2")
    net = one_hidden_net(6, 0.5, drop_maps=True)
    assert [name for name, _ in net.named_children()] == names.split()


@pytest.mark.parametrize("net", ["one-hidden", "one-hidden, maps dropped"])
def test_nets_begin_alike_with_and_without_dropout(net):
    images = torch.rand(2, 1, 24, 24)
    dropping = build_net(ExperimentConfig(net=net, dropout=0.5), 6, 24)
    keeping = build_net(ExperimentConfig(net=net), 6, 24)
    assert not dropping(images).equal(dropping(images))
    assert keeping(images).equal(keeping(images))
    assert dropping.eval()(images).equal(keeping(images))


# The nets that are AlexNets


def test_the_nets_take_the_images_that_they_are_for():
    assert half_small_alexnet(8)(torch.zeros(2, 3, 32, 32)).shape == (2, 8)
    assert two_column_alexnet(8)(torch.zeros(2, 3, 24, 24)).shape == (2, 8)
    net = first_layer_alexnet(8)
    assert net(torch.zeros(2, 3, 96, 96)).shape == (2, 8)
    assert net.features.conv1.weight.shape == (96, 3, 11, 11)
    assert net.features.conv1.weight.std().item() == pytest.approx(0.001, rel=0.05)


def test_the_seeds_without_training_are_those_of_the_runs():
    runs = json.loads((RUNS / "specialisation.json").read_text(encoding="utf-8"))["runs"]
    run = next(run for run in runs if run["config"]["modification"] == "none")
    config = ExperimentConfig(**run["config"] | {"pool": tuple(run["config"]["pool"])})
    kernels = build_net(config, 10, 24).features.conv1.weight.detach()
    colors = run["curve"]["coloured"][0]
    assert color_fraction(kernels).tolist() == pytest.approx(colors, abs=1e-3)


@pytest.mark.parametrize("modification", OVERRIDES | REMOVED_CONVS)
@pytest.mark.parametrize(
    ("make_net", "size"), [(two_column_alexnet, 24), (tiny_imagenet_alexnet, 56)]
)
def test_changed_parts_of_the_two_columns(modification, make_net, size):
    """Each is a net that runs, and all but one differ from the base."""
    net, base = make_net(10, modification), make_net(10)
    assert net(torch.zeros(2, 3, size, size)).shape == (2, 10)
    assert (str(net) != str(base)) == (modification != "none")


# Of each convolution the kernels, the maps that one of them reads, and the columns
TINY_CONVS = [(48, 3, 1), (64, 24, 2), (96, 64, 1), (96, 48, 2), (64, 48, 2)]
TINY_MODIFIED = {
    "none": TINY_CONVS,
    "without LRN": TINY_CONVS,
    "one GPU's half": [(24, 3, 1), (32, 24, 1), (48, 32, 1), (48, 48, 1), (64, 48, 1)],
    "without conv3": [*TINY_CONVS[:2], (96, 64, 1), (64, 48, 2)],  # conv4 reads both columns
    "without conv4": [*TINY_CONVS[:3], (64, 48, 2)],
    "without conv5": TINY_CONVS[:4],
    "columns that never talk": [(48, 3, 1), (64, 24, 2), (96, 32, 2), (96, 48, 2), (64, 48, 2)],
    "no columns": [(48, 3, 1), (64, 48, 1), (96, 64, 1), (96, 96, 1), (64, 96, 1)],
}


@pytest.mark.parametrize("modification", TINY_MODIFIED)
def test_parts_of_the_net_of_tiny_imagenet(modification):
    net = tiny_imagenet_alexnet(200, modification)
    convs = [(conv[0], conv[1], conv[4]) for conv in conv_shapes(net)]
    assert convs == TINY_MODIFIED[modification]
    norms = [m.groups for m in net.modules() if isinstance(m, LocalResponseNorm)]
    columns = max(groups for _, _, groups in convs)
    assert norms == ([] if modification == "without LRN" else [columns] * 2)
    maps = convs[-1][0]
    shapes = [tuple(m.weight.shape) for m in net.modules() if isinstance(m, nn.Linear)]
    assert shapes == [(512, 4 * maps), (512, 512), (200, 512)]
    activations = [m for m in net.features.modules() if isinstance(m, nn.ReLU)]
    assert len(activations) == len(convs)


def test_normalization_divides_as_with_pixels_from_0_to_255():
    """The net of small pixels is that of large ones, its activations as many times smaller."""
    net = tiny_imagenet_alexnet(200, init="he").eval()
    large = copy.deepcopy(net)
    for norm in (large.features.norm1, large.features.norm2):
        norm.alpha = 5e-4  # the paper's
    images = torch.randn(2, 3, 56, 56)
    torch.testing.assert_close(large(70 * images), 70 * net(images), rtol=1e-3, atol=1e-2)
    assert not torch.allclose(large(images), net(images), rtol=0.1)


def test_windows_of_two_and_of_three_leave_as_many_positions_of_crops_of_48():
    nets = [tiny_imagenet_alexnet(200, pool=pool, image_size=48) for pool in ((3, 2), (2, 2))]
    inputs = [net.classifier.fc6.in_features for net in nets]
    assert inputs == [4 * 64] * 2


def test_an_unknown_modification():
    message = "^modification must be one of 'none', .*, 'without conv5', got 'grouped'$"
    with pytest.raises(ValueError, match=message):
        two_column_alexnet(10, "grouped")


def modified(modification):
    """The net with its parts replaced, and without."""
    config = ExperimentConfig(net="two-column", modification=modification)
    return build_net(config, 10, 24), build_net(replace(config, modification="none"), 10, 24)


def conv_shapes(net):
    return [(*m.weight.shape, m.groups) for m in net.modules() if isinstance(m, nn.Conv2d)]


def test_two_of_three_see_what_one_of_five_saw():
    net, before = modified("stacked 3×3")
    stacked = [(32, 3, 3, 3, 1), (32, 16, 3, 3, 2), (64, 16, 3, 3, 2), (64, 32, 3, 3, 2)]
    assert conv_shapes(net) == [*stacked, *conv_shapes(before)[2:]]
    assert isinstance(net.features.conv1[1], nn.ReLU)
    assert isinstance(net.features.conv2[1], nn.ReLU)
    seen, seen_before = [
        {row.layer: (row.output, row.receptive_field, row.start) for row in anatomy(model, 24)}
        for model in (net, before)
    ]
    for layer in ("pool1", "pool2", "pool5"):
        assert seen[f"features.{layer}"] == seen_before[f"features.{layer}"]


def test_depthwise_separable():
    net, before = modified("depthwise separable")
    assert conv_shapes(net) == [
        *conv_shapes(before)[:2],
        (64, 1, 3, 3, 64),
        (96, 64, 1, 1, 1),
        (96, 1, 3, 3, 96),
        (96, 96, 1, 1, 1),
        (96, 1, 3, 3, 96),
        (64, 96, 1, 1, 1),
    ]


def test_batch_normalization_follows_each_convolution_and_there_is_no_other():
    net, before = modified("batch normalisation")
    assert conv_shapes(net) == conv_shapes(before)
    kinds = [type(m).__name__ for m in net.features.modules() if not list(m.children())]
    assert kinds == [
        "ZeroPad2d",
        *["Conv2d", "BatchNorm2d", "ReLU", "Identity", "MaxPool2d"] * 2,
        *["Conv2d", "BatchNorm2d", "ReLU"] * 3,
        "MaxPool2d",
    ]


def test_the_mean_of_each_map_in_the_place_of_two_layers():
    net, _ = modified("global average pooling")
    maps, images = [], torch.randn(2, 3, 24, 24)
    net.features.act5.register_forward_hook(lambda module, inputs, output: maps.append(output))
    logits = net(images)
    layer = net.classifier[0]
    expected = maps[0].mean((2, 3)) @ layer.weight.T + layer.bias
    assert torch.allclose(logits, expected, atol=1e-5) and layer.weight.shape == (10, 64)


def test_all_four_replaced():
    net, _ = modified("all four")
    shapes = conv_shapes(net)
    assert shapes[0] == (32, 3, 3, 3, 1)  # the only one that reads the image
    assert all(shape[2] == 1 or shape[4] == shape[0] for shape in shapes[1:])  # 1×1, or depthwise
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [norm.num_features for norm in norms] == [shape[0] for shape in shapes]
    assert not [m for m in net.modules() if isinstance(m, LocalResponseNorm | nn.Dropout)]
    assert net(torch.randn(2, 3, 24, 24)).shape == (2, 10)


@pytest.mark.parametrize("modification", [*REPLACEMENTS, *REMOVED_CONVS])
def test_new_layers_are_initialized_as_the_others(modification):
    """He: the standard deviation is the root of 2 over the inputs. The seed gives the weights."""
    net, again = modified(modification)[0], modified(modification)[0]
    for layer in weighted_layers(net):
        std = (2 / layer.weight[0].numel()) ** 0.5
        tolerance = 5 * layer.weight.numel() ** -0.5
        assert layer.weight.std().item() == pytest.approx(std, rel=tolerance)
        assert (layer.bias == 0).all()
    assert all(a.equal(b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
