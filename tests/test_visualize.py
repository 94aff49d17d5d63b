import pytest
import torch
from matplotlib import pyplot as plt
from torch import nn
from torchvision.models import alexnet, resnet18

from alexnet.datasets import photos
from alexnet.loader import resize_center_crop
from alexnet.predictor import Predictor, load
from alexnet.model import AlexNet
from alexnet.visualize import (
    Patch, activations, top_patches, color_fraction, crop_patch, maximize_activation, first_and_last_hidden, kernel_grid, nearest_neighbors, occlusion, explain_prediction,
)  # fmt: skip


def edge_net():
    """Two known kernels of 3×3: one answers to bright above dark, the other to green amid red; then the mean of each map."""
    conv = nn.Conv2d(3, 2, 3, padding=1, bias=False)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[0, :, 0], conv.weight[0, :, 2] = 1, -1
        conv.weight[1, 0], conv.weight[1, 1] = -1, 1
    return nn.Sequential(conv, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def edges():
    """Four images of 16×16: nothing, an edge at row 5, a weaker one at row 9, a green spot."""
    images = torch.zeros(4, 3, 16, 16)
    images[1, :, :5] = 1.0
    images[2, :, :9] = 0.5
    images[3, 1, 10:13, 3:6] = 1.0
    return images


def test_an_edge_kernel_answers_an_edge():
    maps = activations(edge_net(), "0", edges())
    assert maps.shape == (4, 2, 16, 16)
    answers = maps[1, 0, :, 4]  # a column of pixels
    assert answers.tolist() == [-9, 0, 0, 0, 9, 9] + [0] * 10  # the first is the image's own border
    assert maps[3, 1].argmax() == 11 * 16 + 4 and maps[3, 1].max() == 9
    assert activations(edge_net(), "1", edges())[1, 0, 0, 4] == 0  # the ReLU behind it wrote over nothing


def test_the_best_places_are_what_a_unit_sees():
    images = edges()
    best, second, *rest = top_patches(edge_net(), "0", 0, images, n=4)
    assert (best.image, best.top, best.size, best.value) == (1, 3, 3, 9.0) and (second.image, second.value) == (2, 4.5)
    assert [place.image for place in rest] == [3, 0]
    assert crop_patch(images, best).tolist() == [[[1] * 3, [1] * 3, [0] * 3]] * 3
    spot = top_patches(edge_net(), "0", 1, images, n=1)[0]
    assert spot == Patch(3, 10, 3, 3, 9.0)
    assert torch.equal(crop_patch(images, spot)[1], torch.ones(3, 3))


def test_a_place_may_hang_over_the_edge():
    images = torch.arange(32.0).view(1, 2, 4, 4)
    assert crop_patch(images, Patch(0, -1, 2, 3, 0.0))[0].tolist() == [[0, 0, 0], [2, 3, 0], [6, 7, 0]]
    assert crop_patch(images, Patch(0, -17, 9, 3, 0.0)).tolist() == torch.zeros(2, 3, 3).tolist()
    whole = top_patches(AlexNet(10, "small"), "classifier.fc6", 3, torch.randn(2, 3, 32, 32), n=1)[0]
    assert (whole.top, whole.left, whole.size) == (0, 0, 32)


def test_colour_of_kernels():
    generator = torch.Generator().manual_seed(0)
    shape = torch.randn(4, 1, 5, 5, generator=generator)
    grey, opponent = shape.expand(4, 3, 5, 5), shape * torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(color_fraction(grey), torch.zeros(4))
    torch.testing.assert_close(color_fraction(opponent), torch.ones(4))
    torch.testing.assert_close(color_fraction(7 * (grey + opponent)), torch.full((4,), 2 / 5))  # 3 on the axis, 2 off it
    assert color_fraction(torch.randn(500, 3, 5, 5, generator=generator)).mean() == pytest.approx(2 / 3, abs=0.01)


def test_kernels_as_a_picture():
    kernels = torch.zeros(3, 3, 2, 2)
    kernels[0, 0, 0, 0], kernels[1, 0, 0, 0] = -0.001, 8.0
    picture = kernel_grid(kernels, across=2)
    assert picture.shape == (3, 7, 7)
    assert picture[:, 1, 1].tolist() == [0, 0.5, 0.5] and picture[:, 1, 4].tolist() == [1, 0.5, 0.5]  # each by its own scale
    assert (picture[:, 1:3, 2] == 0.5).all() and (picture[:, 4:6, 1:3] == 0.5).all() and (picture[:, 0] == 1).all()
    assert kernel_grid(torch.randn(5, 1, 3, 3)).shape[0] == 3


def test_occlusion_finds_what_the_net_looks_at():
    net = nn.Sequential(edge_net(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[0.0, 0.0], [0.0, 50.0]]))  # class 1 is the green spot
    found = occlusion(net, edges()[3], 1, window=4, step=2)
    assert found.shape == (7, 7) and found.min() == pytest.approx(0.5)  # without the spot, either class
    hides = found < 0.6
    assert hides[5, 1] and not hides[:4].any() and not hides[:, 4:].any()
    assert found.max() == pytest.approx(torch.softmax(net(edges()[3:]), 1)[0, 1].item())


def test_an_exciting_picture_excites():
    picture = maximize_activation(edge_net(), "0", 0, 9, steps=50)
    strongest = activations(edge_net(), "0", picture[None])[0, 0, 4, 4]
    noise = activations(edge_net(), "0", 0.1 * torch.randn(64, 3, 9, 9))[:, 0, 4, 4]
    assert strongest > 5 * noise.max()
    assert picture[:, 3, 4].min() > 0 > picture[:, 5, 4].max()  # bright above dark
    assert torch.equal(picture, maximize_activation(edge_net(), "0", 0, 9, steps=50))
    assert not torch.equal(picture, maximize_activation(edge_net(), "0", 0, 9, steps=50, seed=1))


@pytest.mark.parametrize("make, layer, size", [(lambda: AlexNet(10, "small"), "features.conv3", 32), (alexnet, "features.3", 96), (resnet18, "layer1.0.conv1", 64)])
def test_the_net_stays_as_it_was(make, layer, size):
    net = make().train()
    net.get_submodule(layer).eval()
    modes = [module.training for module in net.modules()]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    images = torch.randn(3, 3, size, size)
    assert torch.equal(activations(net, layer, images), activations(net, layer, images))  # without dropout
    assert len(top_patches(net, layer, 1, images, n=2)) == 2
    maximize_activation(net, layer, 1, size, steps=2)
    occlusion(net, images[0], 1, window=size // 2, step=size // 2)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_the_hook_is_gone_after_an_error():
    net = AlexNet(10, "small")
    with pytest.raises(ValueError, match="takes images of 32×32"):
        activations(net, "features.conv1", torch.randn(1, 3, 64, 64))
    assert not any(module._forward_hooks for module in net.modules()) and net.training


def test_neighbours():
    generator = torch.Generator().manual_seed(0)
    others = torch.randn(50, 3, 4, 4, generator=generator)
    distances, indices = nearest_neighbors(others[:5] + 0.01, others, n=3)
    assert indices[:, 0].tolist() == list(range(5))
    by_hand = (others[:5, None] + 0.01 - others).square().sum((2, 3, 4)).sqrt()
    torch.testing.assert_close(distances, by_hand.sort().values[:, :3], atol=0.01, rtol=1e-3)  # a copy is not quite at zero
    assert nearest_neighbors(others, others, n=1)[0].max() < 0.01


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda net: activations(net, "conv1", edges()), r"no layer 'conv1': choose one of 0, 0\.0, 0\.1"),
        (lambda net: activations(net, "", edges()), "no layer ''"),
        (lambda net: top_patches(net, "0", 0, edges()), "0 is made of layers itself: choose one of 0.0, 0.1"),
        (lambda net: top_patches(net, "0.0", 2, edges()), "0.0 has the units 0 to 1, and no 2"),
        (lambda net: maximize_activation(net, "0.0", -1, 8), "0.0 has the units 0 to 1, and no -1"),
        (lambda net: occlusion(net, edges()[0], 0, 17, 1), "a window of 17 pixels, moved by 1, does not fit into an image of 16×16"),
        (lambda net: occlusion(net, edges()[0], 0, 4, 0), "moved by 0, does not fit"),
        (lambda net: nearest_neighbors(edges(), edges(), 5), "there are 4 others, and not 5"),
        (lambda net: kernel_grid(torch.zeros(4, 2, 3, 3)), r"not \(4, 2, 3, 3\): take those of the first layer"),
    ],
)
def test_what_is_wrong_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call(nn.Sequential(edge_net(), nn.Linear(2, 2)))


def test_a_layer_that_is_not_used():
    net = nn.Sequential(nn.Conv2d(3, 2, 1))
    net.spare = nn.Identity()
    net.forward = lambda x: net[0](x)
    with pytest.raises(ValueError, match="does not come to the layer 'spare'"):
        activations(net, "spare", edges())


def test_what_the_book_s_net_sees():
    trained, pictures = load("small"), photos()
    others = torch.stack([resize_center_crop(photo, 36) for photo in pictures.values()])
    figure = explain_prediction(trained, pictures["cat"], others)
    picture, bars, looked, *maps_and_near = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    guesses = trained.probabilities(resize_center_crop(pictures["cat"], 36)[None])[0].topk(5)
    assert [bar.get_width() for bar in bars.patches] == pytest.approx((100 * guesses.values).tolist())
    assert [label.get_text() for label in bars.get_yticklabels()] == [trained.classes[i] for i in guesses.indices]
    assert looked.images[0].get_array().max() <= 100 and len(maps_and_near) == 8
    assert (maps_and_near[4].images[0].get_array() == others[1].permute(1, 2, 0).numpy()).all()  # the cat is nearest to itself
    plt.close(figure)


def test_a_net_of_fewer_than_five_classes():
    net = Predictor(AlexNet(3, "small"), ("a", "b", "c"), 36, 32, torch.zeros(3, 1, 1), torch.ones(3, 1, 1))
    figure = explain_prediction(net, photos()["cat"], torch.zeros(4, 3, 36, 36, dtype=torch.uint8))
    assert {label.get_text() for label in figure.axes[1].get_yticklabels()} == {"a", "b", "c"}
    plt.close(figure)


def test_names_of_the_first_and_the_last_hidden_layer():
    assert first_and_last_hidden(AlexNet(10, "small")) == ("features.conv1", "classifier.drop7")
    assert first_and_last_hidden(alexnet()) == ("features.0", "classifier.5")
    assert first_and_last_hidden(resnet18()) == ("conv1", "avgpool")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu():
    net, images = edge_net().cuda(), edges().cuda()
    assert top_patches(net, "0", 1, images, n=1)[0] == Patch(3, 10, 3, 3, 9.0)
    assert maximize_activation(net, "0", 0, 9, steps=3).is_cuda and occlusion(net, images[0], 1, 4, 4).is_cuda
