"""The engine of the pages, in Chromium: a part of ``make bench``.

A forward pass beside the WebAssembly backend of TensorFlow.js, which ``npm install
--no-package-lock`` in this folder installs, on the same net, with the same weights; a training step
beside PyTorch on one thread. Each pair takes turns in one run, so that a busy machine slows both.
And a frame of the first page, which has no peer, while the square is carried.
"""

import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch
from playwright.sync_api import Browser, Page, sync_playwright
from torch.nn import functional as F

from alexnet.bookkit.export import ENGINE, describe, export, quantized
from alexnet.bookkit.net_output import document_html, frame_html
from alexnet.console import printable
from alexnet.experiments.nets import FourLayerNet
from alexnet.optim import PaperSGD

TFJS = Path(__file__).parent / "node_modules" / "@tensorflow"
TFJS_FILES = ["tfjs-core/dist/tf-core.min.js", "tfjs-backend-wasm/dist/tf-backend-wasm.min.js"]
BROWSERS = ["chromium", "chromium-browser", "google-chrome"]
TURNS, STEPS = 5, 4  # turns of each contender, and passes or steps in a turn
FRAMES = 300  # of the first page

# The stored net in TensorFlow.js, with each convolution and its ReLU fused. It has no groups.
TFJS_NET = """
async ([description, parameters]) => {
  tf.wasm.setWasmPaths("tfjs-backend-wasm/dist/");
  await tf.setBackend("wasm");
  const tensors = {};
  for (const [name, [shape, values]] of Object.entries(parameters)) {
    const value = tf.tensor(values, shape);
    tensors[name] = shape.length === 4 ? tf.transpose(value, [2, 3, 1, 0]) : value;
  }
  const split = (x, groups) => (groups === 1 ? [x] : tf.split(x, groups, x.rank - 1));
  const join = (parts) => (parts.length === 1 ? parts[0] : tf.concat(parts, 3));
  const apply = {
    conv(x, { name, padding: [before, after], groups, stride, kernel }) {
      const weights = tf.split(tensors[`${name}.weight`], groups, 3);
      const biases = tf.split(tensors[`${name}.bias`], groups);
      if (before !== after) x = tf.pad(x, [[0, 0], [before, after], [before, after], [0, 0]]);
      const pad = before === after ? before : 0;
      return join(split(x, groups).map((part, i) => tf.fused.conv2d({ x: part, filter: weights[i],
        strides: stride, pad, bias: biases[i], activation: "relu" })));
    },
    relu: (x) => x, // fused
    lrn: (x, { size, alpha, beta, k, groups }) => join(split(x, groups).map((part) =>
      tf.localResponseNormalization(part, (size - 1) / 2, k, alpha / size, beta))),
    maxpool: (x, { kernel, stride }) => tf.maxPool(x, kernel, stride, "valid"),
    dropout: (x) => x,
    linear(x, { name }) {
      if (x.rank === 4) x = tf.reshape(tf.transpose(x, [0, 3, 1, 2]), [x.shape[0], -1]);
      // Its fused product adds another bias than the one that it is given.
      x = tf.add(tf.matMul(x, tensors[`${name}.weight`], false, true), tensors[`${name}.bias`]);
      return name === "fc8" ? x : tf.relu(x);
    },
  };
  window.tfjsForward = (images, n) => {
    const logits = tf.tidy(() => {
      let x = tf.transpose(tf.tensor(images, [n, ...description.input]), [0, 2, 3, 1]);
      for (const layer of description.layers) x = apply[layer.type](x, layer);
      return x;
    });
    const values = logits.dataSync();
    logits.dispose();
    return values;
  };
}"""

FORWARD = """
async ([n, steps, contender]) => {
  const { input } = window.description;
  const images = new Float32Array(n * input[0] * input[1] * input[2]);
  for (let i = 0; i < images.length; i++) images[i] = Math.sin(i);
  const times = [];
  let logits;
  for (let i = 0; i < steps; i++) {
    const start = performance.now();
    if (contender === "tfjs") logits = tfjsForward(images, n);
    else logits = (await nets[contender].run(images)).logits.data;
    times.push(performance.now() - start);
  }
  return { times, logits: [...logits] };
}"""

TRAIN = """
async (steps) => {
  const images = new Float32Array(32 * 3 * 32 * 32);
  for (let i = 0; i < images.length; i++) images[i] = Math.sin(i);
  const times = [];
  for (let i = 0; i < steps; i++) {
    const start = performance.now();
    await nets.four.train(images, labels, { lr: 0.001 });
    times.push(performance.now() - start);
  }
  return times;
}"""


def take_turns(contenders: dict[str, Callable[[], list[float]]]) -> dict[str, float]:
    """The median of each contender's times, the first turn left out."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(TURNS + 1):
        for name, run in contenders.items():
            found = run()
            times[name] += found if turn else []
    return {name: statistics.median(found) for name, found in times.items()}


def print_ratios(title: str, milliseconds: dict[str, float]) -> None:
    """A line for each contender; the first one is the peer."""
    peer = next(iter(milliseconds.values()))
    print(printable(title))
    for name, t in milliseconds.items():
        print(f"  {name:36} {t:8.1f} ms   {t / peer:6.2f} times as long")


def bench_forward(page: Page) -> None:
    """The stored net ``small``, on one image and on sixteen."""
    predictor, _, _ = quantized("small")
    description = describe(predictor.model, (3, 32, 32))
    page.evaluate("value => { window.description = value; window.nets = {}; }", description)
    parameters = {}
    for name, value in predictor.model.named_parameters():
        parameters[name.partition(".")[2]] = [list(value.shape), value.flatten().tolist()]
    page.evaluate(
        """async () => {
            nets.wasm = (await alexnet.load("small")).net;
            nets.js = (await alexnet.load("small", { plain: true })).net;
        }"""
    )
    names = {"engine, WebAssembly": "wasm", "engine, JavaScript": "js"}
    if TFJS.is_dir():
        page.evaluate(TFJS_NET, [description, parameters])
        names = {"TensorFlow.js, wasm": "tfjs", **names}
    else:
        print("TensorFlow.js is not here: run npm install --no-package-lock in benchmarks/")
    for n in (1, 16):
        logits = {}

        def run(contender: str, n: int = n, logits: dict = logits) -> list[float]:
            found = page.evaluate(FORWARD, [n, STEPS, contender])
            logits[contender] = torch.tensor(found["logits"])
            return found["times"]

        if n > 1:
            names.pop("engine, JavaScript", None)  # the fallback takes its time
        times = take_turns({name: partial(run, contender) for name, contender in names.items()})
        for found in logits.values():  # all compute the same
            torch.testing.assert_close(found, logits["wasm"], rtol=1e-3, atol=1e-3)
        print_ratios(f"a forward pass of the net small, {n} × 32×32, Chromium", times)


def bench_training_step(page: Page) -> None:
    """The four-layer net, 32 images of 32×32."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = FourLayerNet(10)
    labels = torch.randint(10, (32,))
    parameters = {name: value.flatten().tolist() for name, value in net.named_parameters()}
    make = """async ([description, parameters, labels]) => {
        for (const name in parameters) parameters[name] = Float32Array.from(parameters[name]);
        nets.four = await alexnet.createNet(description, parameters);
        window.labels = labels;
    }"""
    page.evaluate(make, [describe(net, (3, 32, 32)), parameters, labels.tolist()])
    images = torch.sin(torch.arange(32 * 3 * 32 * 32).float()).view(32, 3, 32, 32)
    images = images.contiguous(memory_format=torch.channels_last)
    optimizer = PaperSGD(net.parameters(), 0.001)

    def pytorch() -> list[float]:
        times = []
        for _ in range(STEPS):
            start = time.perf_counter()
            optimizer.zero_grad()
            F.cross_entropy(net(images), labels).backward()
            optimizer.step()
            times.append(1e3 * (time.perf_counter() - start))
        return times

    contenders = {
        "PyTorch, one thread": pytorch,
        "engine, WebAssembly": lambda: page.evaluate(TRAIN, STEPS),
    }
    title = "a training step of the four-layer net, 32 images of 32×32"
    print_ratios(title, take_turns(contenders))


# Moves the mouse over the photograph, and returns the milliseconds until the net has answered.
CARRY = """
async (frames) => {
  const stage = document.querySelector(".net-stage");
  const box = stage.getBoundingClientRect();
  let answer = () => {};
  netPage.onPass(() => answer());
  const times = [];
  for (let frame = 0; frame < frames; frame++) {
    await new Promise(requestAnimationFrame);
    const answered = new Promise((resolve) => { answer = resolve; });
    const start = performance.now();
    stage.dispatchEvent(new PointerEvent("pointermove", {
      bubbles: true, pointerId: 1, pointerType: "mouse",
      clientX: box.x + box.width * (0.5 + 0.4 * Math.sin(frame / 9)),
      clientY: box.y + box.height * (0.5 + 0.4 * Math.cos(frame / 7)),
    }));
    await answered;
    times.push(performance.now() - start);
  }
  return times;
}"""


def bench_first_page(browser: Browser) -> None:
    """A frame of the first page: the square is moved, the net answers, bars and maps are drawn."""
    for name, width, height in (("desk", 1280, 800), ("phone", 390, 664)):
        page = browser.new_page(
            viewport={"width": width, "height": height}, reduced_motion="reduce"
        )
        page.set_content(frame_html(document_html("#net=red_panda")))
        frame = page.wait_for_selector("iframe").content_frame()
        frame.wait_for_selector(".net[data-passes]")
        frame.evaluate(CARRY, 20)  # warm by now
        times = sorted(frame.evaluate(CARRY, FRAMES))
        median, most = statistics.median(times), times[int(0.95 * FRAMES)]
        title = f"a frame of the first page, carried, {width}×{height} ({name}), Chromium"
        print(printable(f"{title}: median {median:.1f} ms, 95 % within {most:.1f} ms"))
        page.close()


class QuietHandler(SimpleHTTPRequestHandler):
    """TensorFlow.js fetches its module, which no browser allows from a folder."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def main() -> None:
    """Run all."""
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser_path:
        print("the engine is not measured: install Chromium")
        return
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        for path in ENGINE.glob("*.js"):
            shutil.copy(path, folder)
        export("small", folder / "nets" / "small")
        scripts = ["alexnet.js"]
        if TFJS.is_dir():
            shutil.copytree(TFJS, folder, dirs_exist_ok=True)
            scripts = [*TFJS_FILES, *scripts]
        tags = "".join(f'<script src="{script}"></script>' for script in scripts)
        (folder / "page.html").write_text(f"<!DOCTYPE html>{tags}", encoding="utf-8")
        handler = partial(QuietHandler, directory=name)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/page.html")
        bench_forward(page)
        bench_training_step(page)
        bench_first_page(browser)
        browser.close()
        server.shutdown()


if __name__ == "__main__":
    main()
