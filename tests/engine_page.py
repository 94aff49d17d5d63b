"""A page with the engine in any browser, and what several test files do with it."""

import base64
import json
import shutil
from functools import partial
from itertools import cycle

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as TF

from alexnet import AlexNet, checkpoint
from alexnet.bookkit.export import ENGINE, describe, export
from alexnet.datasets import photos
from alexnet.quantize import quantize

# Values go to the page and come back as JSON, arrays as their bytes in base64.
PAGE = """<!DOCTYPE html><meta charset="utf-8"><title>engine</title>
<script src="alexnet.js"></script>
<script>
const TYPES = { float32: Float32Array, uint8: Uint8Array };

function unpack(value) {
  if (!value || typeof value !== "object") return value;
  if (value.bytes !== undefined) {
    const bytes = Uint8Array.from(atob(value.bytes), (character) => character.charCodeAt(0));
    return new TYPES[value.type](bytes.buffer);
  }
  if (Array.isArray(value)) return value.map(unpack);
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, unpack(part)]));
}

function pack(value) {
  if (!value || typeof value !== "object") return value;
  if (value instanceof Float32Array) {
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    let text = "";
    for (let i = 0; i < bytes.length; i += 8192) {
      text += String.fromCharCode(...bytes.subarray(i, i + 8192));
    }
    return { type: "float32", bytes: btoa(text) };
  }
  if (Array.isArray(value)) return value.map(pack);
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, pack(part)]));
}

const nets = {};

// The result of a body of JavaScript, or the message of its error.
async function perform(body, packed) {
  const values = unpack(packed);
  const run = new Function(...Object.keys(values), `return (async () => { ${body} })()`);
  try {
    return JSON.stringify({ result: pack(await run(...Object.values(values))) ?? null });
  } catch (error) {
    return JSON.stringify({ error: error.message });
  }
}
</script>"""


class EngineError(Exception):
    """An error that the page gave, with its message."""


def pack(value):
    if isinstance(value, Tensor):
        value = value.detach().contiguous().numpy()
    if isinstance(value, np.ndarray):
        assert value.dtype in (np.float32, np.uint8)
        return {"type": str(value.dtype), "bytes": base64.b64encode(value.tobytes()).decode()}
    if isinstance(value, dict):
        return {name: pack(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [pack(part) for part in value]
    return value


def unpack(value):
    if not isinstance(value, dict | list):
        return value
    if isinstance(value, list):
        return [unpack(part) for part in value]
    if "bytes" in value:
        floats = np.frombuffer(base64.b64decode(value["bytes"]), np.float32)
        return torch.from_numpy(floats.copy())
    parts = {name: unpack(part) for name, part in value.items()}
    if set(parts) == {"shape", "data"}:
        return parts["data"].view(parts["shape"])
    return parts


class EnginePage:
    """A page with the engine, in whatever browser: ``evaluate`` calls its function ``perform``."""

    def __init__(self, evaluate):
        self.evaluate = evaluate

    def __call__(self, body, **values):
        """The value that a body of JavaScript returns, which sees the values by their names."""
        answer = json.loads(self.evaluate(body, pack(values)))
        if "error" in answer:
            raise EngineError(answer["error"])
        return unpack(answer["result"])

    def net(self, module, shape, engine="WebAssembly"):
        """The net in a worker, with the weights of a module of PyTorch."""
        values = {
            "description": describe(module, shape),
            "parameters": parameters_of(module),
            "options": {"plain": engine == "JavaScript"},
        }
        make = """
            nets.test?.close();
            nets.test = await alexnet.createNet(description, parameters, options);
            return nets.test.computation.engine"""
        assert self(make, **values) == engine
        return partial(self, "return nets.test.run(images, options)")


def parameters_of(module):
    """Parameters by the names that the engine has for them."""
    named = module.named_parameters()
    return {".".join(name.split(".")[-2:]): value.detach().clone() for name, value in named}


def make_site(folder):
    """Fill a folder with the engine, the net ``small``, and an untrained ``tiny-imagenet``."""
    for path in ENGINE.glob("*.js"):
        shutil.copy(path, folder)
    (folder / "page.html").write_text(PAGE, encoding="utf-8")
    export("small", folder / "nets" / "small")
    weights = folder / "tiny.safetensors"
    save_tiny(weights)
    export(weights, folder / "nets" / "tiny")
    return folder


def save_tiny(path):
    """A file like tiny-imagenet.safetensors, with random weights of 6 bits."""
    torch.manual_seed(0)
    tensors = {}
    for name, value in AlexNet(200, "tiny-imagenet").state_dict().items():
        if name.endswith(".weight"):
            tensors[name], tensors[f"{name}.scale"] = quantize(value, 6)
        else:
            tensors[name] = torch.randn_like(value) * 0.1
    tensors |= {"mean": torch.full((3, 1, 1), 0.45), "std": torch.full((3, 1, 1), 0.25)}
    classes = [f"n{i:08}" for i in range(200)]
    card = {"variant": "tiny-imagenet", "classes": classes, "resize": 64, "crop": 56}
    checkpoint.save_weights(path, tensors, card)


def assert_close(found, expected):
    """The bound of the issue: |difference| ≤ 1e-4 · (1 + |value|)."""
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-4)


def run_reference(module, images, upstream=None, labels=None):
    """Maps of every layer, the gradients at all of them, at the images and at all parameters.

    Args:
        module: of PyTorch.
        images: what it takes.
        upstream: gradient at its output; or
        labels: of the cross-entropy, whose gradients are taken.

    Returns:
        The maps and the gradients, by the engine's names.
    """
    module.zero_grad()
    images = images.clone().requires_grad_()
    maps, handles = {}, []
    for name, layer in module.named_modules():
        if not list(layer.children()) and not isinstance(layer, nn.ZeroPad2d | nn.Flatten):
            keep = partial(maps.__setitem__, name.split(".")[-1])
            handles.append(
                layer.register_forward_hook(lambda _, __, y, keep=keep: keep(y), prepend=True)
            )
    output = module(images)
    for handle in handles:
        handle.remove()
    for tensor in maps.values():
        tensor.retain_grad()
    if labels is None:
        output.backward(upstream)
    else:
        F.cross_entropy(output, labels).backward()
    gradients = {"input": images.grad, **{name: tensor.grad for name, tensor in maps.items()}}
    for name, parameter in module.named_parameters():
        gradients[".".join(name.split(".")[-2:])] = parameter.grad.clone()
    return maps, gradients


def check_all(page, module, images, engine, labels):
    """Logits, the maps of every layer, and all gradients."""
    maps, gradients = run_reference(module, images, labels=labels)
    run = page.net(module, tuple(images.shape[1:]), engine)
    options = {"maps": list(maps), "gradients": list(gradients), "labels": labels.tolist()}
    found = run(images=images, options=options)
    for name, expected in maps.items():
        assert_close(found["maps"][name], expected)
    for name, expected in gradients.items():
        # Relative to the largest of each, since gradients are small numbers.
        largest = expected.abs().max()
        assert largest > 0, name
        assert_close(found["gradients"][name] / largest, expected / largest)
    *_, logits = maps.values()
    assert_close(found["logits"], logits)
    assert found["loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-4)


def random_alexnet(variant):
    torch.manual_seed(1)
    net = AlexNet(10, variant).eval()
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    return net


def margins(net, images):
    """How far each image is from where a gradient jumps, in standard deviations of a layer.

    A ReLU's gradient jumps at 0, that of pooling where two activations of a window are equal. Two
    correct programs, which round differently, may fall on either side.
    """
    found = []

    def note(layer, inputs, _):
        x, n = inputs[0], len(images)
        if isinstance(layer, nn.ReLU):
            distance = x.abs()
        elif isinstance(layer, nn.MaxPool2d):
            windows = F.unfold(x.flatten(0, 1)[:, None], layer.kernel_size, stride=layer.stride)
            first, second = windows.topk(2, dim=1).values.unbind(1)
            # Where both are 0, the ReLU before lets no gradient through.
            distance = torch.where(first > 0, first - second, torch.inf)
        else:
            return
        found.append(distance.reshape(n, -1).amin(1) / x.std())

    handles = [layer.register_forward_hook(note) for layer in net.modules()]
    with torch.no_grad():
        net(images)
    for handle in handles:
        handle.remove()
    return torch.stack(found).amin(0)


def noise_for(net, n):
    """Images (n, 3, H, W) whose gradients are the same however sums are rounded."""
    size = net.config.input_size
    images = torch.randn(3 * n + 8, 3, size, size)
    images = images[margins(net, images) > 2e-6][:n]
    assert len(images) == n
    return images


def pictures(n, size):
    """Crops of photographs, uint8 (n, 3, size, size)."""
    torch.manual_seed(2)
    crops = []
    for _, photo in zip(range(n), cycle(photos().values())):
        side = int(torch.randint(size, 300, ()))
        top, left = (int(torch.randint(length - side + 1, ())) for length in photo.shape[1:])
        crops.append(TF.resized_crop(photo, top, left, side, side, [size, size]))
    return torch.stack(crops)
