import pytest
import torch
from torch import nn
from torchvision.models import alexnet, resnet18

from alexnet.model import AlexNet
from alexnet.visualize import (
    Patch,
    activations,
    color_fraction,
    crop_patch,
    first_and_last_hidden,
    kernel_grid,
    maximize_activation,
    nearest_neighbors,
    occlusion,
    top_patches,
)


def edge_net():
    """Two known kernels of 3×3, and the mean of each of their maps.

    The first responds to bright above dark, the second to green without red.
    """
    conv = nn.Conv2d(3, 2, 3, padding=1, bias=False)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[0, :, 0], conv.weight[0, :, 2] = 1, -1
        conv.weight[1, 0], conv.weight[1, 1] = -1, 1
    return nn.Sequential(conv, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def edges():
    """Four images of 16×16: black, an edge at row 5, a weaker one at row 9, a green spot."""
    images = torch.zeros(4, 3, 16, 16)
    images[1, :, :5] = 1.0
    images[2, :, :9] = 0.5
    images[3, 1, 10:13, 3:6] = 1.0
    return images


def test_an_edge_kernel_responds_to_an_edge():
    maps = activations(edge_net(), "0", edges())
    assert maps.shape == (4, 2, 16, 16)
    column = maps[1, 0, :, 4].tolist()
    assert column == [-9, 0, 0, 0, 9, 9] + [0] * 10  # -9 at the border of the image
    assert maps[3, 1].argmax() == 11 * 16 + 4 and maps[3, 1].max() == 9


def test_an_in_place_relu_does_not_overwrite_the_activations():
    relu = activations(edge_net(), "1", edges())
    assert relu[1, 0, 0, 4] == 0
    assert activations(edge_net(), "0", edges())[1, 0, 0, 4] == -9


def test_top_patches_are_the_receptive_fields_with_the_largest_activations():
    images = edges()
    best, second, *rest = top_patches(edge_net(), "0", 0, images, n=4)
    assert (best.image, best.top, best.size, best.value) == (1, 3, 3, 9.0)
    assert (second.image, second.value) == (2, 4.5)
    assert [patch.image for patch in rest] == [3, 0]
    assert crop_patch(images, best).tolist() == [[[1] * 3, [1] * 3, [0] * 3]] * 3
    spot = top_patches(edge_net(), "0", 1, images, n=1)[0]
    assert spot == Patch(3, 10, 3, 3, 9.0)
    assert torch.equal(crop_patch(images, spot)[1], torch.ones(3, 3))


def test_a_patch_has_zeros_outside_of_the_image():
    images = torch.arange(32.0).view(1, 2, 4, 4)
    partly = crop_patch(images, Patch(0, -1, 2, 3, 0.0))
    assert partly[0].tolist() == [[0, 0, 0], [2, 3, 0], [6, 7, 0]]
    entirely = crop_patch(images, Patch(0, -17, 9, 3, 0.0))
    assert entirely.tolist() == torch.zeros(2, 3, 3).tolist()


def test_a_fully_connected_unit_sees_the_whole_image():
    images = torch.randn(2, 3, 32, 32)
    [patch] = top_patches(AlexNet(10, "small"), "classifier.fc6", 3, images, n=1)
    assert (patch.top, patch.left, patch.size) == (0, 0, 32)


def test_color_fraction_of_known_kernels():
    generator = torch.Generator().manual_seed(0)
    pattern = torch.randn(4, 1, 5, 5, generator=generator)
    gray = pattern.expand(4, 3, 5, 5)
    opponent = pattern * torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(color_fraction(gray), torch.zeros(4))
    torch.testing.assert_close(color_fraction(opponent), torch.ones(4))
    mixed = 7 * (gray + opponent)  # 3 parts of variance on the axis, 2 off it
    torch.testing.assert_close(color_fraction(mixed), torch.full((4,), 2 / 5))
    noise = torch.randn(500, 3, 5, 5, generator=generator)
    assert color_fraction(noise).mean() == pytest.approx(2 / 3, abs=0.01)


def test_kernel_grid_scales_each_kernel_by_itself():
    kernels = torch.zeros(3, 3, 2, 2)
    kernels[0, 0, 0, 0] = -0.001
    kernels[1, 0, 0, 0] = 8.0
    grid = kernel_grid(kernels, nrow=2)
    assert grid.shape == (3, 7, 7)
    assert grid[:, 1, 1].tolist() == [0, 0.5, 0.5]
    assert grid[:, 1, 4].tolist() == [1, 0.5, 0.5]
    assert (grid[:, 1:3, 2] == 0.5).all() and (grid[:, 4:6, 1:3] == 0.5).all()
    assert (grid[:, 0] == 1).all()  # white between the kernels
    assert kernel_grid(torch.randn(5, 1, 3, 3)).shape[0] == 3


def test_occlusion_lowers_the_probability_where_the_object_is():
    net = nn.Sequential(edge_net(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[0.0, 0.0], [0.0, 50.0]]))  # class 1 is the green spot
    probability = occlusion(net, edges()[3], 1, window=4, step=2)
    assert probability.shape == (7, 7)
    assert probability.min() == pytest.approx(0.5)  # without the spot, either class
    low = probability < 0.6
    assert low[5, 1] and not low[:4].any() and not low[:, 4:].any()
    without_occlusion = net(edges()[3:]).softmax(1)[0, 1].item()
    assert probability.max() == pytest.approx(without_occlusion)


def test_maximize_activation_finds_a_pattern_that_the_kernel_responds_to():
    image = maximize_activation(edge_net(), "0", 0, 9, steps=50)
    strongest = activations(edge_net(), "0", image[None])[0, 0, 4, 4]
    noise = activations(edge_net(), "0", 0.1 * torch.randn(64, 3, 9, 9))[:, 0, 4, 4]
    assert strongest > 5 * noise.max()
    assert image[:, 3, 4].min() > 0 > image[:, 5, 4].max()  # bright above dark


def test_the_seed_determines_the_image_of_maximize_activation():
    image = maximize_activation(edge_net(), "0", 0, 9, steps=50)
    assert torch.equal(image, maximize_activation(edge_net(), "0", 0, 9, steps=50))
    assert not torch.equal(image, maximize_activation(edge_net(), "0", 0, 9, steps=50, seed=1))


@pytest.mark.parametrize(
    "make, layer, size",
    [
        (lambda: AlexNet(10, "small"), "features.conv3", 32),
        (alexnet, "features.3", 96),
        (resnet18, "layer1.0.conv1", 64),
    ],
)
def test_the_net_keeps_its_state_and_modes_and_no_hooks_or_gradients(make, layer, size):
    net = make().train()
    net.get_submodule(layer).eval()
    modes = [module.training for module in net.modules()]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    images = torch.randn(3, 3, size, size)
    once, twice = activations(net, layer, images), activations(net, layer, images)
    assert torch.equal(once, twice)  # without dropout
    assert len(top_patches(net, layer, 1, images, n=2)) == 2
    maximize_activation(net, layer, 1, size, steps=2)
    occlusion(net, images[0], 1, window=size // 2, step=size // 2)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_the_hook_is_removed_after_an_error():
    net = AlexNet(10, "small")
    with pytest.raises(ValueError, match="takes images of 32×32"):
        activations(net, "features.conv1", torch.randn(1, 3, 64, 64))
    assert not any(module._forward_hooks for module in net.modules()) and net.training


def test_nearest_neighbors_by_hand():
    generator = torch.Generator().manual_seed(0)
    others = torch.randn(50, 3, 4, 4, generator=generator)
    distances, indices = nearest_neighbors(others[:5] + 0.01, others, n=3)
    assert indices[:, 0].tolist() == list(range(5))
    by_hand = (others[:5, None] + 0.01 - others).square().sum((2, 3, 4)).sqrt()  # (5, 50)
    expected = by_hand.sort().values[:, :3]
    torch.testing.assert_close(distances, expected, atol=0.01, rtol=1e-3)
    # torch.cdist rounds: the distance of an image to itself is not exactly 0
    assert nearest_neighbors(others, others, n=1)[0].max() < 0.01


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda net: activations(net, "conv1", edges()),
            r"unknown layer 'conv1': choose one of 0, 0\.0, 0\.1",
        ),
        (lambda net: activations(net, "", edges()), "unknown layer ''"),
        (
            lambda net: top_patches(net, "0", 0, edges()),
            "layer must have no submodules, got '0': choose one of 0.0, 0.1",
        ),
        (
            lambda net: top_patches(net, "0.0", 2, edges()),
            "unit of the layer '0.0' must be 0 to 1, got 2",
        ),
        (
            lambda net: maximize_activation(net, "0.0", -1, 8),
            "unit of the layer '0.0' must be 0 to 1, got -1",
        ),
        (
            lambda net: occlusion(net, edges()[0], 0, 17, 1),
            "window must be 1 to 16 and step >= 1 for an image of 16×16 pixels, "
            "got window=17 and step=1",
        ),
        (lambda net: occlusion(net, edges()[0], 0, 4, 0), "got window=4 and step=0"),
        (
            lambda net: nearest_neighbors(edges(), edges(), 5),
            "n must be at most 4, the number of others, got 5",
        ),
        (
            lambda net: kernel_grid(torch.zeros(4, 2, 3, 3)),
            r"got \(4, 2, 3, 3\): take those of the first layer",
        ),
    ],
)
def test_errors_name_the_rule_and_what_was_got(call, message):
    net = nn.Sequential(edge_net(), nn.Linear(2, 2))
    with pytest.raises(ValueError, match=message):
        call(net)


def test_a_layer_that_the_forward_pass_does_not_use_is_an_error():
    net = nn.Sequential(nn.Conv2d(3, 2, 1))
    net.spare = nn.Identity()
    net.forward = lambda x: net[0](x)
    with pytest.raises(ValueError, match="must be used in the forward pass, got 'spare'"):
        activations(net, "spare", edges())


def test_names_of_the_first_and_the_last_hidden_layer():
    assert first_and_last_hidden(AlexNet(10, "small")) == ("features.conv1", "classifier.drop7")
    assert first_and_last_hidden(alexnet()) == ("features.0", "classifier.5")
    assert first_and_last_hidden(resnet18()) == ("conv1", "avgpool")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_all_of_it_works_on_a_gpu():
    net, images = edge_net().cuda(), edges().cuda()
    assert top_patches(net, "0", 1, images, n=1)[0] == Patch(3, 10, 3, 3, 9.0)
    assert maximize_activation(net, "0", 0, 9, steps=3).is_cuda
    assert occlusion(net, images[0], 1, 4, 4).is_cuda
