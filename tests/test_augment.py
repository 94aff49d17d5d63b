import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import func
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as TF

from alexnet.augment import PCAColor, RandomCropFlip, TrainAugment, crop_flip, ten_crop
from alexnet.datasets import photo_patches, photos

MEAN, STD = [0.48, 0.45, 0.41], [0.25, 0.24, 0.26]
VECTORS = torch.linalg.qr(torch.tensor([[1.0, 2, 3], [0, 1, 4], [5, 6, 0]]))[0]
VALUES = torch.tensor([0.2, 0.02, 0.005])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_images(n=4, size=12, dtype=torch.uint8, channels=3):
    shape = (n, channels, size, size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=seeded(1))
    return images if dtype == torch.uint8 else images.to(dtype) / 255


# Crop and flip


def channels_last(images):
    return images.to(memory_format=torch.channels_last)


def transposed(images):
    """The same values, column by column in memory."""
    return images.mT.contiguous().mT


def strided(images):
    """The same values, every second one in each dimension of a larger tensor."""
    larger = images.new_zeros([2 * size for size in images.shape])
    view = larger[tuple(slice(None, None, 2) for _ in images.shape)]
    return view.copy_(images)


LAYOUTS = st.sampled_from([torch.clone, channels_last, transposed, strided])
DTYPES = st.sampled_from([torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64])


@st.composite
def batches(draw, channels=None):
    """A batch (N, C, H, W) of noise, of any dtype and memory layout; N may be 0."""
    sizes = [draw(st.integers(1, 9)) for _ in range(2)]
    shape = (draw(st.integers(0, 4)), channels or draw(st.integers(1, 4)), *sizes)
    generator = seeded(draw(st.integers(0, 999)))
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    dtype = draw(DTYPES)
    if dtype != torch.uint8:
        images = (images.double() / 255).to(dtype)
    return draw(LAYOUTS)(images)


def draw_size(data, images):
    return data.draw(st.integers(1, min(images.shape[-2:])), "size")


@given(images=batches(), layout=LAYOUTS, data=st.data())
@settings(deadline=None, max_examples=100)
def test_windows_are_torchvisions(images, layout, data):
    size = draw_size(data, images)
    n, channels, height, width = images.shape
    window = st.tuples(st.integers(0, height - size), st.integers(0, width - size), st.booleans())
    params = [data.draw(window) for _ in range(n)]  # (top, left, flip) of each image
    expected = []
    for image, (top, left, flip) in zip(images, params):
        crop = TF.crop(image, top, left, size, size)
        expected.append(TF.horizontal_flip(crop) if flip else crop)
    top, left, flip = zip(*params) if params else ((), (), ())
    window = (torch.tensor(top).long(), torch.tensor(left).long(), torch.tensor(flip).bool())
    windows = crop_flip(images, *window, size)
    assert windows.dtype == images.dtype and windows.shape == (n, channels, size, size)
    assert all(ours.equal(theirs) for ours, theirs in zip(windows, expected))
    out = layout(torch.zeros(n, channels, size, size, dtype=torch.float64))
    assert crop_flip(images, *window, size, out) is out
    assert out.equal(windows.double())


@given(images=batches(), data=st.data())
@settings(deadline=None, max_examples=60)
def test_random_crops_are_windows_of_their_image(images, data):
    size = draw_size(data, images)
    for image, crop in zip(images, RandomCropFlip(size)(images)):
        windows = image.unfold(1, size, 1).unfold(2, size, 1)  # (C, rows, columns, size, size)
        windows = windows.movedim(0, 2).flatten(0, 1)  # (positions, C, size, size)
        both = torch.cat([windows, windows.flip(-1)])
        assert (both == crop).flatten(1).all(1).any()


def test_crops_and_colors_have_derivatives_in_both_modes():
    images = random_images(3, dtype=torch.float64)
    tangent = torch.randn_like(images)
    window = (torch.tensor([0, 3, 7]), torch.tensor([2, 0, 7]), torch.tensor([True, False, True]))

    def crop(x):
        return crop_flip(x, *window, 5)

    gradient = torch.zeros_like(images)
    for image, top, left in zip(gradient, *window[:2]):
        image[:, top : top + 5, left : left + 5] = 1
    leaf = images.clone().requires_grad_()
    assert torch.autograd.grad(crop(leaf).sum(), leaf)[0].equal(gradient)
    assert func.grad(lambda x: crop(x).sum())(images).equal(gradient)
    assert func.jvp(crop, (images,), (tangent,))[1].equal(crop(tangent))
    assert func.vmap(crop)(images[None])[0].equal(crop(images))
    pca = PCAColor(VECTORS, VALUES, rule="code")
    torch.testing.assert_close(func.jvp(pca, (images,), (tangent,))[1], tangent / 1.1)


def test_indexing_as_on_a_gpu_gives_the_same_windows(monkeypatch):
    """On other devices than the CPU all windows are indexed at once.

    This runs on the CPU, with tensors that claim to be on another device.
    """

    class Elsewhere(torch.Tensor):
        device = property(lambda self: type("Device", (), {"type": "elsewhere"})())

    images = random_images(6, 9)
    top, left = torch.tensor([0, 1, 2, 3, 4, 2]), torch.tensor([4, 3, 2, 1, 0, 2])
    flip = torch.tensor([True, False] * 3)
    arange = torch.arange
    monkeypatch.setattr(torch, "arange", lambda size, device: arange(size))
    indexed = crop_flip(images.as_subclass(Elsewhere), top, left, flip, 5)
    expected = crop_flip(images, top, left, flip, 5)
    assert torch.equal(indexed.as_subclass(torch.Tensor), expected)


def test_all_windows_are_equally_likely():
    """4×4 positions, flipped or not: 32 windows, of 16,000 draws 500 each.

    Give or take five standard deviations.
    """
    image = torch.arange(36, dtype=torch.float32).view(1, 1, 6, 6).expand(16_000, 3, 6, 6)
    windows = RandomCropFlip(3, seeded())(image)[:, 0]
    corners = windows[:, 0, ::2]  # the two upper corners identify a window
    kinds, counts = torch.unique(corners, dim=0, return_counts=True)
    assert len(kinds) == 32
    assert ((counts - 500).abs() < 5 * (16_000 * 1 / 32 * 31 / 32) ** 0.5).all()


@given(
    shape=st.sampled_from([(), (4,), (2, 3)]),
    dtype=st.sampled_from([torch.uint8, torch.float32, torch.float16]),
    size=st.integers(1, 8),
)
@settings(deadline=None, max_examples=20)
def test_results_have_the_dtype_and_batch_shape_of_the_images(shape, dtype, size):
    images = torch.zeros(*shape, 3, 8, 9).to(dtype)
    out = RandomCropFlip(size)(images)
    assert out.shape == (*shape, 3, size, size) and out.dtype == dtype
    if dtype != torch.float16:
        colored = PCAColor(VECTORS, VALUES)(images)
        assert colored.shape == images.shape and colored.dtype == dtype
    assert ten_crop(images, size).shape == (*shape, 10, 3, size, size)


@pytest.mark.parametrize(
    "make",
    [
        lambda generator: RandomCropFlip(6, generator),
        lambda generator: PCAColor(VECTORS, VALUES, generator=generator),
    ],
)
def test_a_seed_determines_the_result_and_images_of_a_batch_differ(make):
    images = random_images(1, 10).expand(16, 3, 10, 10)
    one, again, other = (make(seeded(seed))(images) for seed in (3, 3, 4))
    assert one.equal(again) and not one.equal(other)
    assert len(torch.unique(one.flatten(1), dim=0)) > 8
    torch.manual_seed(5)
    first = make(None)(images)
    torch.manual_seed(5)
    assert make(None)(images).equal(first)


def test_modules_chain_with_torchvisions():
    chain = v2.Compose([
        RandomCropFlip(8),
        PCAColor(VECTORS, VALUES),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD),
    ])
    assert chain(random_images()[0]).shape == (3, 8, 8)
    assert chain(random_images()).shape == (4, 3, 8, 8)


@pytest.mark.parametrize(
    "module",
    [
        RandomCropFlip(8),
        PCAColor(VECTORS, VALUES),
        TrainAugment(8, MEAN, STD, PCAColor(VECTORS, VALUES)),
    ],
)
def test_modules_can_be_pickled(module):
    torch.manual_seed(0)
    expected = module(random_images())
    torch.manual_seed(0)
    assert pickle.loads(pickle.dumps(module))(random_images()).equal(expected)


# PCA color


@given(
    images=batches(channels=3),
    rule=st.sampled_from(["paper", "code"]),
    std=st.floats(0, 3),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=100)
def test_pca_color_is_the_formula_in_numpy(images, rule, std, seed):
    rng = np.random.default_rng(seed)
    vectors = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    values = 0.3 * rng.random(3)
    generator = seeded(seed)
    components = (torch.from_numpy(vectors), torch.from_numpy(values))
    result = PCAColor(*components, std, rule, generator)(images)
    alpha = std * torch.randn(len(images), 3, generator=seeded(seed)).double().numpy()
    scale = values if rule == "paper" else np.sqrt(values)
    color = ((alpha * scale) @ vectors.T)[:, :, None, None]
    divisor = 1.0 if rule == "paper" else 1.1
    pixels = images.double().numpy()
    assert result.dtype == images.dtype
    if images.dtype == torch.uint8:
        expected = np.clip((pixels + 255 * color) / divisor, 0, 255)
        error = np.abs(result.double().numpy() - expected)
        assert (error < 0.501).all()  # rounded to the nearest
    else:
        rtol = {torch.float16: 2e-3, torch.bfloat16: 2e-2}.get(images.dtype, 1e-5)
        atol = rtol * (1 + np.abs(color).max(initial=0))
        expected = (pixels + color) / divisor
        np.testing.assert_allclose(result.double().numpy(), expected, rtol=rtol, atol=atol)


@given(images=batches(channels=3))
@settings(deadline=None, max_examples=100)
def test_components_are_numpys_for_all_images(images):
    pixels = images.double().numpy() / (255 if images.dtype == torch.uint8 else 1)
    pixels = np.moveaxis(pixels, 1, 0).reshape(3, -1)
    count = pixels.shape[1]
    if count < 2:
        with pytest.raises(ValueError, match=f"at least two pixels in all, got {count}"):
            PCAColor.fit(images)
        return
    pca = PCAColor.fit(images)
    vectors = pca.eigenvectors.double().numpy()
    values = pca.eigenvalues.double().numpy()
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(vectors * values @ vectors.T, np.cov(pixels), atol=1e-6)
    assert (values >= 0).all() and (np.diff(values) <= 0).all()


@pytest.mark.parametrize(
    "components, rule, expected",
    [
        (torch.eye(3), "paper", [0.04, -0.02, 0.0075]),
        (torch.eye(3), "code", [0.2, -0.2, 0.15]),  # square roots
        # The first component is green
        (torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]]), "paper", [-0.02, 0.04, 0.0075]),
    ],
)
def test_color_offset_is_the_formula_of_section_4_1(components, rule, expected):
    """[p1 p2 p3][α1λ1 α2λ2 α3λ3]ᵀ. With p the axes and α = (1, -2, 3) this is λ times α."""
    eigenvalues = torch.tensor([0.04, 0.01, 0.0025])
    color = PCAColor(components, eigenvalues, rule=rule).color_offset(torch.tensor([1.0, -2, 3]))
    torch.testing.assert_close(color, torch.tensor(expected))


@pytest.mark.parametrize("rule", ["paper", "code"])
def test_all_pixels_of_an_image_get_the_same_color(rule):
    images = random_images(5, dtype=torch.float64)
    pca = PCAColor(VECTORS, VALUES, rule=rule, generator=seeded(2))
    added = pca(images) * pca.divisor - images
    assert pca.divisor == (1.1 if rule == "code" else 1)
    torch.testing.assert_close(added, added[:, :, :1, :1].expand_as(added))
    assert len(torch.unique(added[:, 0, 0, 0])) == 5
    pca.generator = seeded(2)
    torch.testing.assert_close(added[:, :, 0, 0].float(), pca.sample(5))


def test_colors_have_mean_zero_and_the_covariance_of_the_formula():
    pca = PCAColor(VECTORS, VALUES, std=0.1, generator=seeded())
    colors = pca.sample(40_000).double()
    expected = (VECTORS * (0.1 * VALUES) ** 2 @ VECTORS.T).double()
    assert (colors.mean(0).abs() < 5 * expected.diag().sqrt() / 200).all()
    torch.testing.assert_close(torch.cov(colors.T), expected, rtol=0.05, atol=1e-6)


def test_autocast_does_not_round_the_color():
    pca = PCAColor(VECTORS, VALUES, generator=seeded())
    with torch.autocast("cpu", torch.bfloat16):
        within = pca(random_images())
    pca.generator = seeded()
    assert pca(random_images()).equal(within)


def test_uint8_is_rounded_and_clamped():
    bright = torch.full((1, 3, 2, 2), 250, dtype=torch.uint8)
    pca = PCAColor(torch.eye(3), torch.ones(3), std=1.0)
    pca.sample = lambda n, device: torch.tensor([[0.1, -0.1, -2.0]])
    assert pca(bright)[0, :, 0, 0].tolist() == [
        255,
        224,
        0,
    ]  # 250 ± 25.5, rounded to even; 250 - 510


def test_components_are_those_that_numpy_finds():
    photo = photos()["astronaut"]
    covariance = np.cov(photo.flatten(1).double().numpy() / 255)
    values = np.linalg.eigvalsh(covariance)  # ascending
    pca = PCAColor.fit(photo[None])
    np.testing.assert_allclose(pca.eigenvalues, values[::-1], rtol=1e-6)
    eigenvectors = pca.eigenvectors.double()
    rebuilt = (eigenvectors * pca.eigenvalues) @ eigenvectors.T
    np.testing.assert_allclose(rebuilt, covariance, rtol=1e-5)
    assert pca.eigenvalues.diff().max() <= 0
    # The largest entry of each component is positive
    assert (pca.eigenvectors.amax(0) == pca.eigenvectors.abs().amax(0)).all()


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6), scaled=st.booleans())
@settings(deadline=None, max_examples=20)
def test_an_iterable_gives_the_components_of_the_whole_tensor(sizes, scaled):
    images = random_images(sum(sizes), 6)
    images = images.double() / 255 if scaled else images
    whole = PCAColor.fit(images)
    batches = PCAColor.fit(iter(images.split(sizes)))
    labeled = PCAColor.fit((part, torch.zeros(len(part))) for part in images.split(sizes))
    one_by_one = PCAColor.fit((image, 0) for image in images)
    for other in (batches, labeled, one_by_one):
        torch.testing.assert_close(other.eigenvalues, whole.eigenvalues, rtol=1e-6, atol=0)


def test_a_state_dict_has_the_components_the_rule_and_the_std():
    fitted = PCAColor.fit(random_images(8), std=0.3, rule="code")
    fresh = TrainAugment(8, MEAN, STD, PCAColor(torch.eye(3), torch.ones(3)))
    fresh.load_state_dict(TrainAugment(8, MEAN, STD, fitted).state_dict())
    assert fresh.pca.eigenvectors.equal(fitted.eigenvectors)
    assert fresh.pca.eigenvalues.equal(fitted.eigenvalues)
    assert (fresh.pca.rule, fresh.pca.std) == ("code", 0.3)


# All in one


def one_after_the_other(images, augment):
    """What TrainAugment must equal: torchvision's functions on one image at a time."""
    top, left, flip = augment.crop.make_params(images)
    colors = augment.pca.sample(len(images)) if augment.pca else torch.zeros(len(images), 3)
    divisor = augment.pca.divisor if augment.pca else 1
    size = augment.crop.size
    results = []
    for image, y, x, flipped, color in zip(images, top, left, flip, colors):
        image = TF.crop(image, y.item(), x.item(), size, size)
        image = TF.horizontal_flip(image) if flipped else image
        image = TF.to_dtype(image, torch.float32, scale=True) - augment.mean
        image = image + color[:, None, None]
        results.append(image / divisor / augment.std)
    return torch.stack(results)


@given(
    n=st.integers(1, 6),
    size=st.integers(1, 12),
    rule=st.sampled_from([None, "paper", "code"]),
    mean_image=st.booleans(),
    reuse=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=40)
def test_train_augment_equals_its_parts(n, size, rule, mean_image, reuse, seed):
    images = random_images(n)
    mean = torch.rand(3, size, size) if mean_image else MEAN
    pca = PCAColor(VECTORS, VALUES, rule=rule) if rule else None
    augment = TrainAugment(size, mean, STD, pca)
    torch.manual_seed(seed)
    expected = one_after_the_other(images, augment)
    torch.manual_seed(seed)
    out = torch.full((n, 3, size, size), 7.0) if reuse else None
    result = augment(images, out)
    assert result.dtype == torch.float32 and (result is out or not reuse)
    one_gray_level = 1 / 255 / min(STD)
    torch.testing.assert_close(result, expected, rtol=0, atol=one_gray_level / 100)


def test_train_augment_does_not_change_the_images():
    images = random_images()
    before = images.clone()
    TrainAugment(8, MEAN, STD, PCAColor(VECTORS, VALUES))(images)
    assert images.equal(before)


def test_ten_crops_by_hand():
    """The corners of an image of numbers: 4×5 pixels, crops of 2×2."""
    views = ten_crop(torch.arange(20.0).view(1, 4, 5), 2)[:, 0]
    assert views[:5, 0, 0].tolist() == [0, 3, 10, 13, 7]
    # The top left crop of the flipped image is the top right one, flipped
    for flipped, original in ((5, 1), (6, 0), (8, 2)):
        assert views[flipped].equal(views[original].flip(-1))


@given(images=batches(), data=st.data())
@settings(deadline=None, max_examples=40)
def test_ten_crops_are_slices_of_the_image_and_of_its_mirror_image(images, data):
    size = draw_size(data, images)
    pixels = images.double().numpy()
    bottom, right = images.shape[2] - size, images.shape[3] - size
    center = (round(bottom / 2), round(right / 2))  # as torchvision rounds
    views = []
    for source in (pixels, pixels[..., ::-1]):
        for top, left in [(0, 0), (0, right), (bottom, 0), (bottom, right), center]:
            views.append(source[..., top : top + size, left : left + size])
    assert np.array_equal(ten_crop(images, size).double().numpy(), np.stack(views, -4))


PCA = PCAColor(VECTORS, VALUES)
AUGMENT = TrainAugment(8, MEAN, STD)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (
            lambda: RandomCropFlip(20)(random_images()),
            ValueError,
            "images must be at least 20×20 pixels, got 12×12: enlarge them, or choose a smaller",
        ),
        (lambda: RandomCropFlip(0), ValueError, "size must be >= 1, got 0"),
        (
            lambda: RandomCropFlip(2)(torch.zeros(3, 8, 8, dtype=torch.int32)),
            TypeError,
            "must be uint8, 0 to 255, or floating point, 0 to 1, got torch.int32",
        ),
        (
            lambda: RandomCropFlip(2)(torch.zeros(8, 8)),
            ValueError,
            r"must have shape \(..., C, H, W\), got \(8, 8\)",
        ),
        (lambda: ten_crop(random_images(), 13), ValueError, "must be at least 13×13 pixels"),
        (
            lambda: PCAColor(torch.eye(2), torch.ones(2)),
            ValueError,
            r"shapes \(3, 3\) and \(3,\), got \(2, 2\) and \(2,\)",
        ),
        (
            lambda: PCAColor(VECTORS, VALUES, rule="caffe"),
            ValueError,
            "unknown rule 'caffe': choose one of paper, code",
        ),
        (
            lambda: PCA(random_images(channels=1)),
            ValueError,
            "images must have 3 channels, got 1",
        ),
        (lambda: PCAColor.fit([]), ValueError, "at least two pixels in all, got 0"),
        (
            lambda: AUGMENT(random_images(dtype=torch.float32)),
            TypeError,
            "images must be uint8, 0 to 255, got torch.float32",
        ),
        (
            lambda: AUGMENT(random_images()[0]),
            ValueError,
            r"must be a batch, \(N, C, H, W\), got \(3, 12, 12\)",
        ),
        (
            lambda: TrainAugment(8, [0.5], [0.5])(random_images()),
            ValueError,
            "images must have 1 channels, as mean and std have, got 3",
        ),
        (
            lambda: PCAColor.fit(random_images().float()),
            ValueError,
            "must be 0 to 1, got 255: divide them by 255",
        ),
        (
            lambda: PCAColor.fit(random_images(dtype=torch.float32) - 0.5),
            ValueError,
            "must be 0 to 1, got -0.5: take them before normalization",
        ),
        (
            lambda: PCAColor.fit(torch.full((1, 3, 4, 4), torch.nan)),
            ValueError,
            "must be 0 to 1, got nan: take them before normalization",
        ),
        (
            lambda: PCAColor.fit(torch.zeros(0, 3, 4, 4)),
            ValueError,
            "at least two pixels in all, got 0",
        ),
        (
            lambda: TrainAugment(8, torch.zeros(3, 9, 9), STD),
            ValueError,
            r"mean \(C,\) or \(C, 8, 8\), got \(3,\) and \(3, 9, 9\)",
        ),
        (
            lambda: TrainAugment(8, MEAN, 0.5),
            ValueError,
            r"std must have shape \(C,\).*got \(\) and \(3,\)",
        ),
        (
            lambda: TrainAugment(8, MEAN, [1.0, 0, 1]),
            ValueError,
            r"std must be > 0 in every channel, got \[1.0, 0.0, 1.0\]",
        ),
        (
            lambda: AUGMENT(random_images(), torch.zeros(4, 3, 9, 9)),
            ValueError,
            r"out must be float32 of shape \(4, 3, 8, 8\) on cpu, "
            r"got torch.float32 of shape \(4, 3, 9, 9\)",
        ),
        (
            lambda: AUGMENT(random_images(), torch.zeros(4, 3, 8, 8).double()),
            ValueError,
            "got torch.float64",
        ),
    ],
)
def test_errors_name_the_rule_and_what_was_got(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_takes_the_same_number_of_launches_for_every_batch_size():
    from torch.profiler import ProfilerActivity, profile

    images = photo_patches(128).train_images.cuda()
    augment = TrainAugment(24, MEAN, STD, PCAColor(VECTORS, VALUES)).cuda()
    launches = []
    for n in (16, 128):
        augment(images[:n])  # warm up
        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            augment(images[:n])
        count = 0
        for event in profiler.key_averages():
            if event.device_type == torch.autograd.DeviceType.CUDA:
                count += event.count
        launches.append(count)
    assert launches[0] == launches[1] > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_cuts_the_windows_that_the_cpu_cuts():
    images = photo_patches(128).train_images.cuda()
    params = RandomCropFlip(24).make_params(images)
    on_cpu = crop_flip(images.cpu(), *(param.cpu() for param in params), 24)
    assert crop_flip(images, *params, 24).cpu().equal(on_cpu)
