import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from alexnet.augment import PCAColor, RandomCropFlip, TrainAugment, crop_flip, ten_crop
from alexnet.datasets import photo_patches, photos

MEAN, STD = [0.48, 0.45, 0.41], [0.25, 0.24, 0.26]
VECTORS = torch.linalg.qr(torch.tensor([[1.0, 2, 3], [0, 1, 4], [5, 6, 0]]))[0]
VALUES = torch.tensor([0.2, 0.02, 0.005])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def some(n=4, size=12, dtype=torch.uint8, channels=3):
    images = torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=seeded(1))
    return images if dtype == torch.uint8 else images.to(dtype) / 255


# Crop and flip


@given(n=st.integers(1, 5), height=st.integers(3, 12), width=st.integers(3, 12), size=st.integers(1, 3), data=st.data())
@settings(deadline=None, max_examples=40)
def test_windows_are_torchvisions(n, height, width, size, data):
    images = torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8)
    draw = [data.draw(st.tuples(st.integers(0, height - size), st.integers(0, width - size), st.booleans())) for _ in range(n)]
    ours = crop_flip(images, *map(torch.tensor, zip(*draw)), size)
    for window, image, (top, left, flip) in zip(ours, images, draw):
        theirs = F.crop(image, top, left, size, size)
        assert window.equal(F.horizontal_flip(theirs) if flip else theirs)


def test_the_way_for_a_gpu_gives_the_same(monkeypatch):
    """On a device that is not the CPU the windows are indexed: here on the CPU, which says that it is another one."""

    class Elsewhere(torch.Tensor):
        device = property(lambda self: type("Device", (), {"type": "elsewhere", "__index__": None})())

    images = some(6, 9)
    top, left, flip = torch.tensor([0, 1, 2, 3, 4, 2]), torch.tensor([4, 3, 2, 1, 0, 2]), torch.tensor([True, False] * 3)
    arange = torch.arange
    monkeypatch.setattr(torch, "arange", lambda *a, device=None, **k: arange(*a, **k))
    indexed = crop_flip(images.as_subclass(Elsewhere), top, left, flip, 5)
    assert torch.equal(indexed.as_subclass(torch.Tensor), crop_flip(images, top, left, flip, 5))


def test_all_windows_are_equally_likely():
    """4×4 places, mirrored or not: 32 of them, each 500 times of 16,000, give or take five standard deviations."""
    image = torch.arange(36, dtype=torch.float32).view(1, 1, 6, 6).expand(16_000, 3, 6, 6)
    windows = RandomCropFlip(3, seeded())(image)[:, 0]
    kinds, counts = torch.unique(windows[:, 0, ::2], dim=0, return_counts=True)  # its upper corners tell a window
    assert len(kinds) == 32
    assert ((counts - 500).abs() < 5 * (16_000 * 1 / 32 * 31 / 32) ** 0.5).all()


@given(shape=st.sampled_from([(), (4,), (2, 3)]), dtype=st.sampled_from([torch.uint8, torch.float32, torch.float16]), size=st.integers(1, 8))
@settings(deadline=None, max_examples=20)
def test_shapes_and_types_stay(shape, dtype, size):
    images = torch.zeros(*shape, 3, 8, 9).to(dtype)
    out = RandomCropFlip(size)(images)
    assert out.shape == (*shape, 3, size, size) and out.dtype == dtype
    if dtype != torch.float16:
        coloured = PCAColor(VECTORS, VALUES)(images)
        assert coloured.shape == images.shape and coloured.dtype == dtype
    assert ten_crop(images, size).shape == (*shape, 10, 3, size, size)


@pytest.mark.parametrize("make", [lambda g: RandomCropFlip(6, g), lambda g: PCAColor(VECTORS, VALUES, generator=g)])
def test_a_seed_decides_and_images_of_a_batch_differ(make):
    images = some(1, 10).expand(16, 3, 10, 10)
    one, again, other = (make(seeded(seed))(images) for seed in (3, 3, 4))
    assert one.equal(again) and not one.equal(other)
    assert len(torch.unique(one.flatten(1), dim=0)) > 8
    torch.manual_seed(5)
    first = make(None)(images)
    torch.manual_seed(5)
    assert make(None)(images).equal(first)


def test_they_are_modules_like_torchvisions():
    chain = v2.Compose([RandomCropFlip(8), PCAColor(VECTORS, VALUES), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
    assert chain(some()[0]).shape == (3, 8, 8) and chain(some()).shape == (4, 3, 8, 8)
    for module in (RandomCropFlip(8), PCAColor(VECTORS, VALUES), TrainAugment(8, MEAN, STD, PCAColor(VECTORS, VALUES))):
        torch.manual_seed(0)
        expected = module(some())
        torch.manual_seed(0)
        assert pickle.loads(pickle.dumps(module))(some()).equal(expected)


# PCA colour


def test_the_colour_on_paper():
    """Section 4.1: [p1 p2 p3][α1λ1 α2λ2 α3λ3]ᵀ. With p = the axes and α = (1, -2, 3): λ times α."""
    axes, alpha = torch.eye(3), torch.tensor([1.0, -2, 3])
    values = torch.tensor([0.04, 0.01, 0.0025])
    torch.testing.assert_close(PCAColor(axes, values).color_offset(alpha), torch.tensor([0.04, -0.02, 0.0075]))
    torch.testing.assert_close(PCAColor(axes, values, rule="code").color_offset(alpha), torch.tensor([0.2, -0.2, 0.15]))  # roots
    swapped = torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])  # the first component is green
    torch.testing.assert_close(PCAColor(swapped, values).color_offset(alpha), torch.tensor([-0.02, 0.04, 0.0075]))


@pytest.mark.parametrize("rule", ["paper", "code"])
def test_one_colour_for_all_pixels_of_an_image(rule):
    images = some(5, dtype=torch.float64)
    pca = PCAColor(VECTORS, VALUES, rule=rule, generator=seeded(2))
    added = pca(images) * pca.divisor - images
    assert pca.divisor == (1.1 if rule == "code" else 1)
    torch.testing.assert_close(added, added[:, :, :1, :1].expand_as(added))
    assert len(torch.unique(added[:, 0, 0, 0])) == 5
    pca.generator = seeded(2)
    torch.testing.assert_close(added[:, :, 0, 0].float(), pca.sample(5))


def test_the_mean_change_is_zero_and_the_spread_is_as_said():
    pca = PCAColor(VECTORS, VALUES, std=0.1, generator=seeded())
    colours = pca.sample(40_000).double()
    expected = (VECTORS * (0.1 * VALUES) ** 2 @ VECTORS.T).double()
    assert (colours.mean(0).abs() < 5 * expected.diag().sqrt() / 200).all()
    torch.testing.assert_close(torch.cov(colours.T), expected, rtol=0.05, atol=1e-6)


def test_autocast_does_not_round_the_colour():
    pca = PCAColor(VECTORS, VALUES, generator=seeded())
    with torch.autocast("cpu", torch.bfloat16):
        within = pca(some())
    pca.generator = seeded()
    assert pca(some()).equal(within)


def test_uint8_is_rounded_and_cut():
    bright = torch.full((1, 3, 2, 2), 250, dtype=torch.uint8)
    pca = PCAColor(torch.eye(3), torch.ones(3), std=1.0)
    pca.colour = lambda n, device: torch.tensor([[0.1, -0.1, -2.0]])
    assert pca(bright)[0, :, 0, 0].tolist() == [255, 224, 0]  # 250 ± 25.5, rounded to even; 250 - 510


def test_components_are_numpys():
    photo = photos()["astronaut"]
    covariance = np.cov(photo.flatten(1).double().numpy() / 255)
    values, vectors = np.linalg.eigh(covariance)
    pca = PCAColor.fit(photo[None])
    np.testing.assert_allclose(pca.eigenvalues, values[::-1], rtol=1e-6)
    rebuilt = (pca.eigenvectors.double() * pca.eigenvalues) @ pca.eigenvectors.double().T
    np.testing.assert_allclose(rebuilt, covariance, rtol=1e-5)
    assert pca.eigenvalues.diff().max() <= 0
    assert (pca.eigenvectors.amax(0) == pca.eigenvectors.abs().amax(0)).all()  # and brighter is positive


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6), scaled=st.booleans())
@settings(deadline=None, max_examples=20)
def test_a_stream_gives_what_the_whole_gives(sizes, scaled):
    images = some(sum(sizes), 6)
    images = images.double() / 255 if scaled else images
    whole, stream = PCAColor.fit(images), PCAColor.fit(iter(images.split(sizes)))
    labelled = PCAColor.fit((part, torch.zeros(len(part))) for part in images.split(sizes))
    one_by_one = PCAColor.fit((image, 0) for image in images)
    for other in (stream, labelled, one_by_one):
        torch.testing.assert_close(other.eigenvalues, whole.eigenvalues, rtol=1e-6, atol=0)


def test_a_checkpoint_holds_the_components():
    fitted = PCAColor.fit(some(8), std=0.3, rule="code")
    fresh = TrainAugment(8, MEAN, STD, PCAColor(torch.eye(3), torch.ones(3)))
    fresh.load_state_dict(TrainAugment(8, MEAN, STD, fitted).state_dict())
    assert fresh.pca.eigenvectors.equal(fitted.eigenvectors) and fresh.pca.eigenvalues.equal(fitted.eigenvalues)
    assert (fresh.pca.rule, fresh.pca.std) == ("code", 0.3)


# All in one


def chain(images, augment):
    """What TrainAugment shall equal: torchvision's functions on one image at a time, with the same draws."""
    top, left, flip = augment.crop.make_params(images)
    colours = augment.pca.sample(len(images)) if augment.pca else torch.zeros(len(images), 3)
    results = []
    for image, y, x, mirrored, colour in zip(images, top.tolist(), left.tolist(), flip.tolist(), colours):
        image = F.crop(image, y, x, augment.crop.size, augment.crop.size)
        image = F.horizontal_flip(image) if mirrored else image
        image = F.to_dtype(image, torch.float32, scale=True) - augment.mean + colour[:, None, None]
        results.append(image / (augment.pca.divisor if augment.pca else 1) / augment.std)
    return torch.stack(results)


@given(
    n=st.integers(1, 6), size=st.integers(1, 12), pca=st.sampled_from([None, "paper", "code"]), picture=st.booleans(), reuse=st.booleans(), seed=st.integers(0, 99)
)  # fmt: skip
@settings(deadline=None, max_examples=40)
def test_it_equals_the_chain(n, size, pca, picture, reuse, seed):
    images = some(n)
    mean = torch.rand(3, size, size) if picture else MEAN
    augment = TrainAugment(size, mean, STD, pca and PCAColor(VECTORS, VALUES, rule=pca))
    torch.manual_seed(seed)
    expected = chain(images, augment)
    torch.manual_seed(seed)
    out = torch.full((n, 3, size, size), 7.0) if reuse else None
    found = augment(images, out)
    assert found.dtype == torch.float32 and (found is out or not reuse)
    one_grey_level = 1 / 255 / min(STD)
    torch.testing.assert_close(found, expected, rtol=0, atol=one_grey_level / 100)


def test_it_leaves_the_images_alone():
    images = some()
    before = images.clone()
    TrainAugment(8, MEAN, STD, PCAColor(VECTORS, VALUES))(images)
    assert images.equal(before)


def test_ten_crops_by_hand():
    """The corners of a picture of numbers: 4×5, views of 2×2."""
    views = ten_crop(torch.arange(20.0).view(1, 4, 5), 2)[:, 0]
    assert views[:5, 0, 0].tolist() == [0, 3, 10, 13, 7]
    # The upper left of the mirrored picture is the upper right one, mirrored.
    assert views[5].equal(views[1].flip(-1)) and views[6].equal(views[0].flip(-1)) and views[8].equal(views[2].flip(-1))


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (lambda: RandomCropFlip(20)(some()), ValueError, "window of 20×20 does not fit into an image of 12×12"),
        (lambda: RandomCropFlip(0), ValueError, "a pixel or more a side, not 0"),
        (lambda: RandomCropFlip(2)(torch.zeros(3, 8, 8, dtype=torch.int32)), TypeError, "uint8, 0 to 255, or floating point, 0 to 1, not torch.int32"),
        (lambda: RandomCropFlip(2)(torch.zeros(8, 8)), ValueError, r"three dimensions or more, not \(8, 8\)"),
        (lambda: ten_crop(some(), 13), ValueError, "window of 13×13 does not fit"),
        (lambda: PCAColor(torch.eye(2), torch.ones(2)), ValueError, r"shapes \(3, 3\) and \(3,\), not \(2, 2\) and \(2,\)"),
        (lambda: PCAColor(VECTORS, VALUES, rule="caffe"), ValueError, "unknown rule 'caffe': choose one of paper, code"),
        (lambda: PCAColor(VECTORS, VALUES)(some(channels=1)), ValueError, "images of 3 channels, not 1"),
        (lambda: PCAColor.fit([]), ValueError, "two pixels or more"),
        (lambda: TrainAugment(8, MEAN, STD)(some(dtype=torch.float32)), TypeError, "uint8 images, 0 to 255, not torch.float32"),
        (lambda: TrainAugment(8, MEAN, STD)(some()[0]), ValueError, r"a batch, \(N, C, H, W\), not \(3, 12, 12\)"),
        (lambda: TrainAugment(8, [0.5], [0.5])(some()), ValueError, "3 channels need as many means and stds, not 1"),
        (lambda: PCAColor.fit(some().float()), ValueError, "go from 0 to 1, and here is a 255: divide them by 255"),
        (lambda: TrainAugment(8, torch.zeros(3, 9, 9), STD), ValueError, r"an image \(C, 8, 8\), not \(3,\) and \(3, 9, 9\)"),
        (lambda: TrainAugment(8, MEAN, 0.5), ValueError, r"std is a figure a channel.*not \(\) and \(3,\)"),
        (lambda: TrainAugment(8, MEAN, [1.0, 0, 1]), ValueError, "above zero in every channel"),
        (lambda: TrainAugment(8, MEAN, STD)(some(), torch.zeros(4, 3, 9, 9)), ValueError, r"out is float32 \(4, 3, 8, 8\) on cpu, not torch.float32 \(4, 3, 9, 9\)"),
        (lambda: TrainAugment(8, MEAN, STD)(some(), torch.zeros(4, 3, 8, 8).double()), ValueError, "not torch.float64"),
    ],
)  # fmt: skip
def test_says_what_is_wrong(call, kind, says):
    with pytest.raises(kind, match=says):
        call()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_in_a_fixed_number_of_launches():
    from torch.profiler import ProfilerActivity, profile

    images = photo_patches(128).train_images.cuda()
    augment = TrainAugment(24, MEAN, STD, PCAColor(VECTORS, VALUES)).cuda()
    launches = []
    for n in (16, 128):
        augment(images[:n])
        with profile(activities=[ProfilerActivity.CUDA]) as found:
            augment(images[:n])
        launches.append(sum(event.count for event in found.key_averages() if event.device_type == torch.autograd.DeviceType.CUDA))
    assert launches[0] == launches[1] > 0
    draws = augment.crop.make_params(images)
    on_cpu = crop_flip(images.cpu(), *(draw.cpu() for draw in draws), 24)
    assert crop_flip(images, *draws, 24).cpu().equal(on_cpu)

