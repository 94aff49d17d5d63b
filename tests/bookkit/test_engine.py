"""The net on the page equals the net in PyTorch: the engine in a browser, from a folder."""

import base64
import copy
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as TF

from alexnet import AlexNet, LocalResponseNorm
from alexnet.bookkit.engine import build
from alexnet.bookkit.export import ENGINE, NETS, describe, export, quantized
from alexnet.bookkit.export import main as export_main
from alexnet.experiments.nets import FourLayerNet
from alexnet.optim import PaperSGD
from engine_page import (
    EngineError,
    EnginePage,
    assert_close,
    check_all,
    make_site,
    noise_for,
    parameters_of,
    pictures,
    random_alexnet,
    run_reference,
)
from helpers import HEADLESS_CHROMIUM, ROOT, exit_message, some_of

# .ci/lowest collects this file as well, without a browser's driver.
playwright = pytest.importorskip("playwright.sync_api")

pytestmark = pytest.mark.slow

ENGINES = ["WebAssembly", "JavaScript"]
# The slower one is left to `make test-exhaustive`
EITHER_ENGINE = some_of(ENGINES, "WebAssembly")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def chromium():
    if not HEADLESS_CHROMIUM and "CI" not in os.environ:
        pytest.skip("no browser: install Chromium (on Debian, apt install chromium)")
    with playwright.sync_playwright() as browsers:
        options = {"executable_path": HEADLESS_CHROMIUM, "args": ["--no-sandbox"]}
        browser = browsers.chromium.launch(**options)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def tab(chromium, site):
    page = chromium.new_page()
    page.goto((site / "page.html").as_uri())
    yield page
    page.close()


@pytest.fixture
def page(tab):
    return EnginePage(lambda body, values: tab.evaluate(PERFORM, [body, values]))


PERFORM = "([body, values]) => perform(body, values)"


# 5 is no multiple of what the kernel takes at once
@pytest.mark.parametrize("batch", some_of([1, 5, 16], 5))
@pytest.mark.parametrize("engine", EITHER_ENGINE)
@pytest.mark.parametrize("variant", ["small", "tiny-imagenet"])
def test_all_maps_and_gradients(page, variant, engine, batch):
    net = random_alexnet(variant)
    check_all(page, net, noise_for(net, batch), engine, torch.randint(10, (batch,)))


@pytest.mark.parametrize("engine", EITHER_ENGINE)
@pytest.mark.parametrize("name", ["small", "tiny"])
def test_a_stored_net_gives_the_logits_of_pytorch(page, site, name, engine):
    """Of 100 pictures, one by one and in one batch."""
    source = site / "tiny.safetensors" if name == "tiny" else name
    predictor, _, card = quantized(source)
    images = pictures(100, predictor.resize)
    view = TF.center_crop(images, [predictor.crop, predictor.crop])
    with torch.no_grad():
        expected = predictor.model.eval()(predictor.normalize(view))
    body = """
        const progress = [];
        const options = { plain, onProgress: (fraction) => progress.push(fraction) };
        const loaded = await alexnet.load(name, options);
        await alexnet.ready;
        const size = pixels.length / 100;
        const single = [];
        for (let i = 0; i < 100; i++) {
          single.push(await alexnet.forward(pixels.slice(i * size, (i + 1) * size)));
        }
        const batch = await alexnet.forward(pixels);
        const { engine, notice, card } = loaded;
        return { single, batch, progress, engine, notice, card }"""
    pixels = images.permute(0, 2, 3, 1)
    found = page(body, name=name, pixels=pixels, plain=engine == "JavaScript")
    assert_close(found["batch"].view_as(expected), expected)
    assert_close(torch.stack(found["single"]), expected)
    assert (found["engine"], found["notice"]) == (engine, "")
    assert found["card"] == json.loads(json.dumps(card))
    assert found["progress"] == sorted(found["progress"]) and found["progress"][-1] == 1
    assert len(found["progress"]) >= 4


# Each layer alone


LAYERS = {  # a module, and the shape of what it is given
    "conv": (nn.Conv2d(3, 5, 3), (2, 3, 7, 5)),
    "conv, one position": (nn.Conv2d(3, 7, 4), (3, 3, 4, 4)),
    "conv, 1×1": (nn.Conv2d(6, 9, 1), (2, 6, 3, 8)),
    "conv, stride 2": (nn.Conv2d(4, 6, 3, stride=2), (2, 4, 9, 6)),
    "conv, stride beyond the kernel": (nn.Conv2d(2, 3, 2, stride=5), (1, 2, 12, 8)),
    "conv, padded": (nn.Conv2d(5, 4, 5, padding=2), (2, 5, 6, 7)),
    "conv, two groups": (nn.Conv2d(6, 10, 3, padding=1, groups=2), (3, 6, 5, 4)),
    "conv, a group a map": (nn.Conv2d(6, 6, 3, padding=1, groups=6), (2, 6, 4, 4)),
    "conv, one map": (nn.Conv2d(1, 1, 3), (1, 1, 3, 3)),
    "conv, over the edge": (
        nn.Sequential(OrderedDict(pad=nn.ZeroPad2d((0, 3, 0, 3)), conv=nn.Conv2d(3, 8, 7, 2))),
        (2, 3, 12, 17),
    ),
    "conv, deeper than a block": (nn.Conv2d(70, 12, 3, padding=1), (1, 70, 5, 6)),
    "linear": (nn.Linear(13, 7), (5, 13)),
    "linear, one image": (nn.Linear(300, 9), (1, 300)),
    "linear of maps": (
        nn.Sequential(OrderedDict(flatten=nn.Flatten(), fc=nn.Linear(3 * 2 * 4, 6))),
        (3, 3, 2, 4),
    ),
    "relu": (nn.ReLU(), (2, 3, 4, 5)),
    "tanh": (nn.Tanh(), (2, 3, 4, 5)),
    "sigmoid": (nn.Sigmoid(), (2, 3, 4, 5)),
    "softmax": (nn.Softmax(1), (3, 7)),
    "lrn": (LocalResponseNorm(5, alpha=0.5), (2, 8, 3, 4)),
    "lrn, in columns": (LocalResponseNorm(5, alpha=0.5, groups=2), (2, 12, 3, 2)),
    "lrn, even size": (LocalResponseNorm(4, alpha=0.9), (1, 7, 2, 3)),
    "lrn, other power": (LocalResponseNorm(3, alpha=0.7, beta=1.3, k=1.0), (2, 5, 2, 2)),
    "lrn, wider than the maps": (nn.LocalResponseNorm(9, alpha=2.0), (1, 3, 4, 4)),
    "max pooling, overlapping": (nn.MaxPool2d(3, 2), (2, 3, 8, 7)),
    "max pooling, apart": (nn.MaxPool2d(2), (2, 5, 4, 7)),
    "max pooling, over the edge": (nn.MaxPool2d(3, 2, ceil_mode=True), (2, 3, 8, 6)),
    "max pooling, a window outside": (nn.MaxPool2d(2, 3, ceil_mode=True), (1, 2, 6, 9)),
    "mean pooling": (nn.AvgPool2d(3, 2), (2, 3, 8, 7)),
    "mean pooling, over the edge": (nn.AvgPool2d(3, 2, ceil_mode=True), (2, 3, 8, 6)),
    "dropout, not in training": (nn.Dropout(0.5).eval(), (2, 6)),
}


@pytest.mark.parametrize("engine", EITHER_ENGINE)
@pytest.mark.parametrize("name", LAYERS)
def test_each_layer_alone(page, name, engine):
    module, shape = LAYERS[name]
    module = copy.deepcopy(module)
    if not isinstance(module, nn.Sequential):
        module = nn.Sequential(OrderedDict(layer=module))
    torch.manual_seed(0)
    images = torch.randn(shape)
    upstream = torch.randn_like(module(images))
    maps, gradients = run_reference(module, images, upstream)
    last, output = list(maps.items())[-1]
    # The engine has images only; of a vector, each number is a map of one position.
    run = page.net(module, (*shape[1:], 1, 1)[:3], engine)
    options = {"gradients": list(gradients), "of": {"layer": last, "upstream": upstream}}
    found = run(images=images, options=options)
    assert_close(found["logits"].view_as(output), output)
    for key, expected in gradients.items():
        assert_close(found["gradients"][key].view_as(expected), expected)


def test_the_first_of_equal_values_gets_the_gradient_of_pooling(page):
    module = nn.Sequential(OrderedDict(pool=nn.MaxPool2d(2, 1)))
    images = torch.tensor([[[[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]]])
    upstream = torch.tensor([[[[2.0, 3.0]]]])
    _, gradients = run_reference(module, images, upstream)
    run = page.net(module, (1, 2, 3))
    options = {"gradients": ["input"], "of": {"layer": "pool", "upstream": upstream}}
    assert_close(run(images=images, options=options)["gradients"]["input"], gradients["input"])


@pytest.mark.parametrize("engine", ENGINES)
def test_dropout(page, engine):
    """It drops the fraction that it says, and the gradient of what it drops."""
    module = nn.Sequential(OrderedDict(drop=nn.Dropout(0.3)))
    images, upstream = torch.rand(4, 2500) + 1, torch.randn(4, 2500)
    run = page.net(module, (2500, 1, 1), engine)
    options = {"gradients": ["input"], "of": {"layer": "drop", "upstream": upstream}}
    options |= {"training": True}
    page("await nets.test.seed(7)")
    found = run(images=images, options=options)
    factors = found["logits"].view_as(images) / images
    kept = factors > 0
    assert 0.67 < kept.float().mean() < 0.73
    assert_close(factors[kept], torch.full_like(factors[kept], 1 / 0.7))
    assert_close(found["gradients"]["input"].view_as(images), factors * upstream)

    again = run(images=images, options=options)
    assert not torch.equal(again["logits"], found["logits"])
    page("await nets.test.seed(7)")
    assert torch.equal(run(images=images, options=options)["logits"], found["logits"])


# Training


TRAIN = """
const found = [];
for (const step of steps) {
  found.push(await nets.test.train(step.images, step.labels, step.options));
}
return { steps: found, parameters: await nets.test.parameters() };
"""


@pytest.mark.parametrize("engine", EITHER_ENGINE)
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_ten_training_steps_of_the_four_layer_net(page, activation, engine):
    """As by PaperSGD, also when the rate changes; its rule differs from torch.optim.SGD's there."""
    torch.manual_seed(3)
    net = FourLayerNet(10, activation)
    page.net(net, (3, 32, 32), engine)
    options = {"lr": 0.003, "momentum": 0.9, "weightDecay": 5e-3}
    optimizer = PaperSGD(net.parameters(), 0.003, 0.9, 5e-3)
    expected, correct, steps = [], [], []
    for step in range(10):
        if step == 7:
            optimizer.param_groups[0]["lr"] = options["lr"] = 0.001
        images, labels = torch.randn(8, 3, 32, 32), torch.randint(10, (8,))
        steps.append({"images": images, "labels": labels.tolist(), "options": dict(options)})
        logits = net(images)
        loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
        correct.append(int((logits.argmax(1) == labels).sum()))
    found = page(TRAIN, steps=steps)
    assert [step["loss"] for step in found["steps"]] == pytest.approx(expected, rel=1e-4)
    assert [step["correct"] for step in found["steps"]] == correct
    for name, value in parameters_of(net).items():
        assert_close(found["parameters"][name], value)


def test_a_constant_rate_is_that_of_torch(page):
    torch.manual_seed(4)
    net = nn.Sequential(OrderedDict(fc=nn.Linear(6, 3)))
    page.net(net, (6, 1, 1))
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=0.01)
    images, labels = torch.randn(5, 6), torch.randint(3, (5,))
    options = {"lr": 0.1, "momentum": 0.9, "weightDecay": 0.01}
    step = {"images": images, "labels": labels.tolist(), "options": options}
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()
    found = page(TRAIN, steps=[step] * 5)
    for name, value in parameters_of(net).items():
        assert_close(found["parameters"][name], value)


# Parts taken away


def two_columns():
    """A small net of two columns with all kinds of layers."""
    torch.manual_seed(5)
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 8, 3, padding=1),
            act1=nn.ReLU(),
            norm1=LocalResponseNorm(alpha=0.5, groups=2),
            pool1=nn.MaxPool2d(3, 2),
            conv2=nn.Conv2d(8, 8, 3, padding=1, groups=2),
            act2=nn.Tanh(),
            conv3=nn.Conv2d(8, 12, 3, padding=1),
            act3=nn.Tanh(),
            flatten=nn.Flatten(),
            fc4=nn.Linear(12 * 4 * 4, 6),
        )
    )


def without_maps(name, maps):
    def hook(_, __, y):
        kept = torch.ones_like(y)
        kept[:, maps] = 0
        return y * kept

    return lambda net: net.get_submodule(name).register_forward_hook(hook)


def without_layer(name):
    return lambda net: setattr(net, name, nn.Identity())


def without_crossing(name, to, from_):
    """Zero weights from one half of the input to one half of the output."""

    def change(net):
        weight = net.get_submodule(name).weight
        with torch.no_grad():
            weight.chunk(2, 0)[to].chunk(2, 1)[from_].zero_()

    return change


CUTS = {  # of the engine, and what is done to the net of PyTorch
    "a kernel": ({"maps": {"conv1": [5]}}, [without_maps("conv1", [5])]),
    "some units": ({"maps": {"act3": [0, 11]}}, [without_maps("act3", [0, 11])]),
    "a column": (
        {"columns": [1]},
        [
            without_maps("conv1", [4, 5, 6, 7]),
            without_maps("conv2", [4, 5, 6, 7]),
            without_maps("conv3", [6, 7, 8, 9, 10, 11]),
        ],
    ),
    "a normalization": ({"layers": ["norm1"]}, [without_layer("norm1")]),
    "a convolution": ({"layers": ["conv2"]}, [without_layer("conv2")]),
    "an activation": ({"layers": ["act1"]}, [without_layer("act1")]),
    "a crossing": ({"crossings": {"conv3": [[0, 1]]}}, [without_crossing("conv3", 1, 0)]),
    "both crossings": (
        {"crossings": {"conv3": [[0, 1], [1, 0]]}},
        [without_crossing("conv3", 1, 0), without_crossing("conv3", 0, 1)],
    ),
    "a crossing of a linear layer": (
        {"crossings": {"fc4": [[1, 0]]}},
        [without_crossing("fc4", 0, 1)],
    ),
}


@pytest.mark.parametrize("engine", EITHER_ENGINE)
@pytest.mark.parametrize("name", CUTS)
def test_parts_taken_away(page, name, engine):
    """Logits and gradients; and when the parts are back, all is as before."""
    cuts, changes = CUTS[name]
    net = two_columns()
    images, upstream = torch.randn(2, 3, 9, 9), torch.randn(2, 6)
    run = page.net(net, (3, 9, 9), engine)
    of = {"layer": "fc4", "upstream": upstream}
    whole = run(images=images, options={})["logits"]
    assert_close(whole, net(images))
    for change in changes:
        change(net)
    maps, gradients = run_reference(net, images, upstream)
    names = [key for key in gradients if key in maps or key == "input"]
    names = [key for key in names if not isinstance(getattr(net, key, None), nn.Identity)]
    found = run(images=images, options={"cuts": cuts, "gradients": names, "of": of})
    assert_close(found["logits"], maps["fc4"])
    assert not torch.allclose(found["logits"], whole, atol=1e-3)
    for key in names:
        assert_close(found["gradients"][key], gradients[key])
    assert torch.equal(run(images=images, options={})["logits"], whole)


def test_cuts_that_are_refused_take_nothing_away(page):
    net = two_columns()
    images = torch.randn(1, 3, 9, 9)
    run = page.net(net, (3, 9, 9))
    whole = run(images=images, options={})["logits"]
    with pytest.raises(EngineError, match="act1: has no weights"):
        run(images=images, options={"cuts": {"crossings": {"conv3": [[0, 1]], "act1": []}}})
    assert torch.equal(run(images=images, options={})["logits"], whole)


def test_training_without_a_crossing_leaves_its_weights(page):
    net = two_columns()
    page.net(net, (3, 9, 9))
    before = parameters_of(net)["conv3.weight"]
    options = {"lr": 0.05, "cuts": {"crossings": {"conv3": [[0, 1]]}}}
    step = {"images": torch.randn(2, 3, 9, 9), "labels": [1, 2], "options": options}
    changed = page(TRAIN, steps=[step])["parameters"]["conv3.weight"] != before
    assert not changed[6:, :4].any() and changed[:6].all() and changed[6:, 4:].all()


# What is wrong ends in an error that names the layer


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (torch.zeros(0), {}, "input: must be one image or more of 3×9×9 numbers, got 0 .*conv1"),
        (torch.zeros(1, 3, 9, 8), {}, "input: must be .* 3×9×9 numbers, got 216"),
        (torch.full((1, 3, 9, 9), torch.nan), {}, "input: must be finite, got NaN .*conv1"),
        (torch.full((1, 3, 9, 9), 3e38), {}, "conv1: its maps hold NaN or infinity"),
        (torch.zeros(9, dtype=torch.uint8), {}, "no preprocessing"),
        (torch.zeros(1, 3, 9, 9), {"maps": ["conv9"]}, "no layer is called conv9: .*conv1, act1"),
        (torch.zeros(1, 3, 9, 9), {"gradients": ["input"]}, "gradients: need labels, or of"),
        (torch.zeros(1, 3, 9, 9), {"labels": [6]}, "labels: must be 0 to 5, the maps of fc4, got"),
        (torch.zeros(1, 3, 9, 9), {"labels": [1, 2]}, "labels: must be one an image, 1, got 2"),
        (
            torch.zeros(1, 3, 9, 9),
            {"gradients": ["conv3"], "of": {"layer": "conv2", "upstream": torch.zeros(128)}},
            "conv3: lies above conv2",
        ),
        (
            torch.zeros(1, 3, 9, 9),
            {"gradients": ["input"], "of": {"layer": "conv2", "upstream": torch.zeros(5)}},
            "conv2: upstream must be 128 numbers, got 5",
        ),
        (torch.zeros(1, 3, 9, 9), {"cuts": {"maps": {"conv1": [8]}}}, "conv1: has no map 8"),
        (
            torch.zeros(1, 3, 9, 9),
            {"cuts": {"columns": [2]}},
            "conv1: the net has 2 columns, and no column 2",
        ),
        (torch.zeros(1, 3, 9, 9), {"cuts": {"layers": ["pool1"]}}, "pool1: cannot be left out"),
        (torch.zeros(1, 3, 9, 9), {"cuts": {"crossings": {"act1": []}}}, "act1: has no weights"),
        (
            torch.zeros(1, 3, 9, 9),
            {"cuts": {"crossings": {"conv3": [[0, 2]]}}},
            "conv3: the net has 2 columns, and no column 2",
        ),
    ],
)
def test_wrong_input(page, images, options, message):
    run = page.net(two_columns(), (3, 9, 9))
    with pytest.raises(EngineError, match=message):
        run(images=images, options=options)


def linear(**parts):
    """A layer fc of 4 inputs and 3 units, with other parts."""
    description = {"name": "fc", "type": "linear", "out": 3}
    weights = {"fc.weight": torch.zeros(3, 4), "fc.bias": torch.zeros(3)}
    return [description | parts], weights


CONV = {"name": "conv1", "type": "conv", "out": 4, "kernel": 3}


@pytest.mark.parametrize(
    ("layers", "weights", "message"),
    [
        ([], {}, "the net has no layers"),
        ([{"name": "act1", "type": "gelu"}], {}, "act1: unknown type gelu"),
        (linear()[0], {}, "fc.weight: is missing"),
        (linear()[0], {"fc.weight": torch.zeros(3, 5)}, "fc.weight: must be 3×4 numbers, got 15"),
        (*linear(out=0), "fc: must have at least one map, got 0"),
        ([CONV], {}, "conv1: its kernel of 3×3 does not fit into maps of 1×1"),
        ([CONV | {"kernel": 1, "groups": 3}], {}, "conv1: .* of its 3 groups, got 4 and 4"),
        ([{"name": "pool1", "type": "maxpool", "kernel": 2}], {}, "pool1: its window of 2×2"),
        ([{"name": "norm1", "type": "lrn", "groups": 3}], {}, "norm1: .* its 3 groups, got 4"),
        ([{"name": "drop6", "type": "dropout", "p": 1}], {}, "drop6: p must be >= 0 and < 1"),
        ([{"name": "act1", "type": "relu"}] * 2, {}, "two layers have one name: act1, act1"),
    ],
)
def test_wrong_nets(page, layers, weights, message):
    description = {"input": [4, 1, 1], "layers": layers}
    with pytest.raises(EngineError, match=message):
        page(
            "await alexnet.createNet(description, weights)",
            description=description,
            weights=weights,
        )


def test_what_the_engine_lacks_is_named():
    with pytest.raises(ValueError, match=r"no layer like norm, BatchNorm2d"):
        describe(nn.Sequential(OrderedDict(norm=nn.BatchNorm2d(3))), (3, 4, 4))
    with pytest.raises(ValueError, match=r"no layer like features\.mapnorm2"):
        describe(AlexNet(variant="original-code"), (3, 224, 224))


# The script on the page


def damage_kernel(script, change):
    """The text of kernel.js, with a change to the bytes of the module."""
    found = re.search(r'"kernel", "([^"]+)"', script)[1]
    changed = base64.b64encode(change(base64.b64decode(found))).decode()
    return script.replace(found, changed)


def subtract(module):
    """The module with a subtraction of vectors for each addition."""
    assert module.count(b"\xfd\xe4\x01") > 8  # f32x4.add
    return module.replace(b"\xfd\xe4\x01", b"\xfd\xe5\x01")


def without_simd(module):
    """The module with an instruction that no browser knows, as is SIMD to an old one."""
    return module.replace(b"\xfd\xe4\x01", b"\xfd\xff\x7f")


@pytest.fixture
def open_copy(chromium, site, tmp_path):
    """Opens a copy of the site after a change to one of its files."""
    tabs = []

    def open_page(file, change):
        shutil.copytree(site, tmp_path / "site")
        path = tmp_path / "site" / file
        path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
        tab = chromium.new_page()
        tabs.append(tab)
        tab.goto((tmp_path / "site" / "page.html").as_uri())
        return EnginePage(lambda body, values: tab.evaluate(PERFORM, [body, values]))

    yield open_page
    for tab in tabs:
        tab.close()


LOAD = """
const { engine, notice } = await alexnet.load("small");
return { engine, notice, logits: await alexnet.forward(pixels) }"""


@pytest.mark.parametrize(
    ("change", "notice"),
    [
        (subtract, r"WebAssembly computes other numbers than PyTorch .* plain JavaScript"),
        (without_simd, r"no WebAssembly with SIMD, so the net runs in plain JavaScript"),
    ],
)
def test_where_the_kernel_fails_plain_javascript_goes_on_and_says_so(open_copy, change, notice):
    page = open_copy("kernel.js", lambda script: damage_kernel(script, change))
    predictor, _, _ = quantized("small")
    images = pictures(2, predictor.resize)
    found = page(LOAD, pixels=images.permute(0, 2, 3, 1))
    assert found["engine"] == "JavaScript" and re.search(notice, found["notice"])
    view = TF.center_crop(images, [predictor.crop, predictor.crop])
    with torch.no_grad():
        assert_close(found["logits"].view(2, -1), predictor.model.eval()(predictor.normalize(view)))


def test_a_net_that_computes_nowhere_what_pytorch_does_is_refused(open_copy):
    def other_logits(script):
        logits = re.search(r'"logits":"([^"]+)"', script)[1]
        return script.replace(logits, base64.b64encode(np.ones(10, np.float32)).decode())

    page = open_copy("nets/small/net.js", other_logits)
    with pytest.raises(EngineError, match="other numbers than PyTorch for the stored image"):
        page(LOAD, pixels=torch.zeros(36 * 36 * 3, dtype=torch.uint8))


def test_scripts_that_are_missing_and_pixels_of_another_size(tab, page):
    with pytest.raises(EngineError, match=r"nets/lost/net\.js cannot be loaded"):
        page("await alexnet.load('lost')")
    page("await alexnet.load('small')")
    for size in (0, 64 * 64 * 3):
        message = rf"pixels: must be one image or more of 36×36×3 bytes, got {size} bytes"
        with pytest.raises(EngineError, match=message):
            page(f"await alexnet.forward(new Uint8Array({size}))")


def test_without_a_net_the_page_says_what_to_do(chromium, site):
    tab = chromium.new_page()
    tab.goto((site / "page.html").as_uri())
    page = EnginePage(lambda body, values: tab.evaluate(PERFORM, [body, values]))
    with pytest.raises(EngineError, match=r"no net is loaded: call alexnet\.load first"):
        page("await alexnet.forward(new Uint8Array(36 * 36 * 3))")
    tab.close()


def test_the_page_answers_while_the_net_computes(page):
    """While it trains in plain JavaScript, the page's own timers run on."""
    net = FourLayerNet(10)
    page.net(net, (3, 32, 32), "JavaScript")
    body = """
        let [ticks, longest, last] = [0, 0, performance.now()];
        const timer = setInterval(() => {
          ticks++;
          longest = Math.max(longest, performance.now() - last);
          last = performance.now();
        }, 1);
        const start = last;
        await nets.test.train(images, labels, { lr: 0.01 });
        clearInterval(timer);
        return { ticks, longest, whole: performance.now() - start }"""
    found = page(body, images=torch.randn(64, 3, 32, 32), labels=[0] * 64)
    assert found["ticks"] > 10 and found["longest"] < found["whole"] / 2


# The files


def test_the_kernel_in_the_repository_is_that_of_its_source():
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip(f"no compiler: pip install ziglang=={build.ZIG}")
    if importlib.metadata.version("ziglang") != build.ZIG:
        pytest.skip(f"another compiler gives other bytes: pip install ziglang=={build.ZIG}")
    script = build.kernel_script(build.compile_kernel(ENGINE / "kernel.c"))
    assert script == (ENGINE / "kernel.js").read_text(encoding="utf-8")


def sections(module):
    """The kinds of sections in a WebAssembly module, and their contents."""
    at = 8  # after the magic number and the version
    while at < len(module):
        kind, size, shift = module[at], 0, 0
        while True:  # the size in LEB128
            at += 1
            size |= (module[at] & 127) << shift
            shift += 7
            if module[at] < 128:
                break
        yield kind, module[at + 1 : at + 1 + size]
        at += 1 + size


def test_the_kernel_cannot_use_a_stack():
    """It would lie in the middle of the parameters. From 0 it grows to where no memory is."""
    script = (ENGINE / "kernel.js").read_text(encoding="utf-8")
    module = base64.b64decode(re.search(r'"kernel", "([^"]+)"', script)[1])
    kinds = dict(sections(module))
    assert kinds.keys() >= {1, 2, 3, 7, 10}, "types, imports, functions, exports, code"
    stack_pointer = b"\x01\x7f\x01\x41\x00\x0b"  # one global, mutable, i32.const 0
    assert kinds[6] == stack_pointer


@pytest.mark.parametrize("folder", sorted(NETS.glob("*")), ids=lambda folder: folder.name)
def test_a_stored_net_is_a_fresh_export(folder, tmp_path):
    size = export(folder.name, tmp_path / folder.name)
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in (tmp_path / folder.name).iterdir())
    for name in names:
        stored, fresh = ((where / name).read_bytes() for where in (folder, tmp_path / folder.name))
        if name == "net.js":  # its logits differ in the last bits from machine to machine
            logits = re.compile(rb'"logits":"([^"]+)"')
            pair = [base64.b64decode(logits.search(text)[1]) for text in (stored, fresh)]
            found, expected = (torch.frombuffer(bytearray(b), dtype=torch.float32) for b in pair)
            assert_close(found, expected)
            stored, fresh = logits.sub(b"", stored), logits.sub(b"", fresh)
        assert stored == fresh, f"python -m alexnet.bookkit.export {folder.name}"
    assert size < 1.6e6


def test_the_command(tmp_path, capsys):
    export_main(["small", "--out", str(tmp_path / "small")])
    assert re.search(r"small: 0\.\d\d MB gzipped", capsys.readouterr().out)
    message, status = exit_message(lambda: export_main([str(tmp_path / "lost.safetensors")]))
    assert status == 1 and "lost.safetensors is not a file" in message


def tool(name):
    """A development tool of package.json, which .ci/run installs."""
    path = ROOT / "node_modules" / ".bin" / name
    if not path.exists() and "CI" not in os.environ:
        pytest.skip(f"no {name}: run npm install --no-package-lock (on Debian, apt install npm)")
    return str(path)


def test_the_types_of_the_engine_are_right():
    done = subprocess.run([tool("tsc"), "-p", ROOT], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_style_of_the_engine():
    done = subprocess.run([tool("biome"), "ci"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
