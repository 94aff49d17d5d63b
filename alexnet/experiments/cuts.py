"""What each part of the shipped net is worth: what the net gets right without it.

``python -m alexnet.experiments cuts --data TINY_IMAGENET`` evaluates ``tiny-imagenet`` on the
10,000 validation photographs, whole and then without one part after the other. Nothing is trained,
and nothing is chosen by what comes out. The first page of the book shows the record: there the
same parts can be taken away, under the same names.
"""

import copy
import datetime
import hashlib
import json
import time
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as TF

from alexnet.checkpoint import load_weights
from alexnet.console import printable
from alexnet.experiments.runner import Runner, describe_machine
from alexnet.loader import resize_center_crop
from alexnet.model import AlexNet
from alexnet.predictor import TINY_IMAGENET, Predictor, load

NET = "tiny-imagenet"
WHOLE = "none"  # the name of the row that stands for the whole net
BATCH = 50  # photographs at a time, whose maps fit into the cache of a core


def convolutions(model: AlexNet) -> dict[str, nn.Conv2d]:
    """The convolutions by name, from conv1 on."""
    layers = model.features.named_children()
    return {name: layer for name, layer in layers if isinstance(layer, nn.Conv2d)}


def cut_names(model: AlexNet) -> list[str]:
    """The cuts that are measured, by the names that they have in the address of the first page."""
    columns = [f"{name}.column{column}" for name in convolutions(model) for column in (1, 2)]
    kernels = [f"kernel{number + 1}" for number in range(model.features.conv1.out_channels)]
    return ["column1", "column2", "crossing", "lrn", "dropout", *columns, *kernels]


@torch.no_grad()
def take_away(model: AlexNet, cut: str) -> AlexNet:
    """A copy of a net in two columns that lacks one of its parts, in evaluation mode.

    Args:
        model: is not changed.
        cut: one of :func:`cut_names`. ``kernel7`` is the seventh of conv1, whose map becomes zero;
            ``conv3.column2`` are conv3's maps in the second column; ``column2`` those of all
            convolutions; ``crossing`` the weights of conv3 from one column to the other; ``lrn``
            both normalizations, which pass on what they are given; ``dropout`` leaves dropout on.

    Raises:
        ValueError: if the net has no such part.
    """
    if cut not in cut_names(model):
        raise ValueError(
            f"the net has no part {cut!r}: choose one of {', '.join(cut_names(model))}"
        )
    net = copy.deepcopy(model).eval()
    layers = net.features
    if cut == "lrn":
        layers.norm1, layers.norm2 = nn.Identity(), nn.Identity()
    elif cut == "dropout":
        net.classifier.drop6.train()
        net.classifier.drop7.train()
    elif cut == "crossing":
        to_first, to_second = layers.conv3.weight.chunk(2)  # (maps / 2, inputs, 3, 3) each
        to_first.chunk(2, dim=1)[1].zero_()
        to_second.chunk(2, dim=1)[0].zero_()
    elif cut.startswith("kernel"):
        number = int(cut.removeprefix("kernel"))
        _clear_maps(layers.conv1, slice(number - 1, number))
    else:
        layer, _, column = cut.rpartition(".")
        for name, conv in convolutions(net).items():
            if layer in (name, ""):
                half = conv.out_channels // 2
                _clear_maps(conv, slice(0, half) if column == "column1" else slice(half, None))
    return net


def _clear_maps(conv: nn.Conv2d, maps: slice) -> None:
    # Without weights and biases a map is zero for every image
    conv.weight[maps] = 0
    conv.bias[maps] = 0


@torch.no_grad()
def count_parameters(model: AlexNet, cut: str) -> int:
    """How many parameters a cut sets to zero."""
    ones = copy.deepcopy(model)
    for parameter in ones.parameters():
        parameter.fill_(1)
    left = sum(int(parameter.count_nonzero()) for parameter in take_away(ones, cut).parameters())
    return sum(parameter.numel() for parameter in model.parameters()) - left


@torch.no_grad()
def first_guesses(predictor: Predictor, net: nn.Module, views: Tensor) -> Tensor:
    """The five most probable classes of each view, the first one first.

    Args:
        predictor: how the net's input is normalized.
        net: as it is, in training or in evaluation mode.
        views: uint8 (N, 3, crop, crop), on the net's device.

    Returns:
        int64 (N, 5), on the CPU; fewer columns if there are fewer classes.
    """
    k = min(5, len(predictor.classes))
    found = []
    for batch in views.split(BATCH):
        x = predictor.normalize(batch).contiguous(memory_format=torch.channels_last)  # faster
        found.append(net(x).topk(k, dim=1).indices.cpu())
    return torch.cat(found)


def compare(guesses: Tensor, labels: Tensor, whole: Tensor) -> dict[str, float]:
    """What is right, and what has changed.

    Args:
        guesses: int64 (N, 5), of :func:`first_guesses`.
        labels: int64 (N,).
        whole: int64 (N,), the first guesses of the whole net.

    Returns:
        ``top1`` and ``top5``, 0 to 1, and of how many images the first guess has ``changed``, was
        right and is wrong (``right_to_wrong``), and the other way around (``wrong_to_right``).
    """
    hits = guesses == labels[:, None]  # (N, 5)
    right, was_right = hits[:, 0], whole == labels
    return {
        "top1": right.float().mean().item(),
        "top5": hits.any(1).float().mean().item(),
        "changed": int((guesses[:, 0] != whole).sum()),
        "right_to_wrong": int((was_right & ~right).sum()),
        "wrong_to_right": int((right & ~was_right).sum()),
    }


def weights_sha256(path: Path = TINY_IMAGENET) -> str:
    """A hash of all tensors in a file of weights, whatever else the file says of the net."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_weights(path)[0].items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def load_shipped(runner: Runner) -> Predictor:
    """The shipped net, which the runner's images must be for.

    Raises:
        ValueError: if the images are not of the net's classes, unless the run is only a try.
    """
    predictor = load(NET)
    classes = runner.dataset.classes
    if classes != predictor.classes and not runner.quick:
        raise ValueError(
            f"--data must hold the {len(predictor.classes)} classes of {NET}, "
            f"got {len(classes)} classes, the first one {classes[0]!r}"
        )
    return predictor


def center_views(predictor: Predictor, images: Tensor) -> Tensor:
    """What the net sees of images, uint8 (N, 3, H, W): uint8 (N, 3, crop, crop)."""
    squares = resize_center_crop(images, predictor.resize)
    return TF.center_crop(squares, [predictor.crop, predictor.crop])


class CutRecorder:
    """Measures cuts, and writes the record after each.

    Args:
        runner: its test images are taken, and its file is written. Each of its seeds is a draw of
            dropout.

    Raises:
        ValueError: if the test images are not of the net's classes.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.predictor = load_shipped(runner).to(runner.device)
        self.views = center_views(self.predictor, runner.dataset.test_images).to(runner.device)
        self.labels = runner.dataset.test_labels
        self.header = runner.header | {"weights": {"name": NET, "sha256": weights_sha256()}}
        self.rows: dict[str, dict] = {}  # by cut

    def load_recorded(self) -> None:
        """Take over what an earlier, interrupted command has measured with the same weights."""
        path = self.runner.path
        if not path.exists():
            return
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.get("weights") == self.header["weights"]:
            self.rows = {row["cut"]: row for row in record["cuts"]}

    def measure_all(self) -> None:
        """Measure the whole net, and each cut that is not recorded.

        Raises:
            OSError: if the file cannot be written.
        """
        model = self.predictor.model.eval()
        start = time.perf_counter()
        guesses = first_guesses(self.predictor, model, self.views)
        whole = guesses[:, 0]
        if WHOLE not in self.rows:
            self._record(WHOLE, compare(guesses, self.labels, whole), 0, start)
        for cut in cut_names(model):
            if cut not in self.rows:
                start = time.perf_counter()
                result = self._measure(take_away(model, cut), cut, whole)
                self._record(cut, result, count_parameters(model, cut), start)

    def _measure(self, net: AlexNet, cut: str, whole: Tensor) -> dict:
        """What a cut changes; of dropout the mean over its draws, and each of them."""
        draws = []
        for seed in self.runner.seeds if cut == "dropout" else [0]:
            torch.manual_seed(seed)
            guesses = first_guesses(self.predictor, net, self.views)
            draws.append(compare(guesses, self.labels, whole))
        if cut != "dropout":
            return draws[0]
        mean = {key: sum(draw[key] for draw in draws) / len(draws) for key in draws[0]}
        return mean | {"draws": draws}

    def _record(self, cut: str, result: dict, parameters: int, start: float) -> None:
        """Write the file anew, one line a cut."""
        self.rows[cut] = {"cut": cut, "parameters": parameters} | _rounded(result)
        self.rows[cut] |= {
            "seconds": round(time.perf_counter() - start, 1),
            "date": str(datetime.date.today()),
            "machine": describe_machine(self.runner.device),
        }
        header = json.dumps(self.header, indent=1).removesuffix("\n}")
        rows = [json.dumps(row, separators=(",", ":")) for row in self.rows.values()]
        lines = ",\n".join(rows)
        self.runner.replace_file(f'{header},\n "cuts": [\n{lines}\n],\n "runs": []\n}}\n')
        with suppress(BrokenPipeError):  # the reader of the pipe may have exited
            progress = f"cuts {len(self.rows)}: {cut}: top-1 {100 * result['top1']:.2f} %"
            print(printable(progress), flush=True)


def _rounded(result: dict) -> dict:
    """Six digits are enough for a fraction of ten thousand photographs."""
    rounded = {key: round(value, 6) for key, value in result.items() if key != "draws"}
    if "draws" in result:
        rounded["draws"] = [_rounded(draw) for draw in result["draws"]]
    return rounded


def cuts(runner: Runner) -> None:
    """What it costs to take away each part of the shipped net; trains nothing."""
    recorder = CutRecorder(runner)
    recorder.load_recorded()
    recorder.measure_all()
