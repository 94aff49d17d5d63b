"""Top-1 and top-5 accuracy of a trained net, or its guesses for one image.

``python -m alexnet.evaluate --weights FILE --data DATA`` takes a folder DATA with a folder of
images for each class. The weights are a checkpoint of :mod:`alexnet.train` or the
``model.safetensors`` that it ends with; ``tiny-imagenet`` or ``small``, the nets that ship with the
package, which know two hundred classes of ImageNet and the ten of CIFAR-10; or ``torchvision``, its
AlexNet, which it downloads. The last line of the
output is JSON, with accuracies from 0 to 1. ``--image FILE`` instead of ``--data`` prints the five
most probable classes of an image.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from alexnet.console import printable
from alexnet.distributed import resolve_device
from alexnet.loader import (
    CachedImageLoader,
    ImageFolderIndex,
    canonical_name,
    decode_image,
    join_names,
    print_left_out,
    resize_center_crop,
    scan_image_folder,
)
from alexnet.predictor import SHIPPED, Predictor, load, topk_correct
from alexnet.resources import usable_cores


def evaluate(
    predictor: Predictor,
    folder: ImageFolderIndex,
    ten_crop: bool = False,
    device: torch.device | str = "cpu",
    num_workers: int = 2,
    batch_size: int = 64,
) -> dict:
    """Accuracy on a folder of class folders.

    What the folder's index leaves out and images that cannot be decoded are named on stderr.

    Args:
        predictor: the net.
        folder: the images; of the net's classes it may have some only, in any order.
        ten_crop: whether to average over ten crops.
        device: to compute on.
        num_workers: threads that decode images.
        batch_size: images that are computed at once.

    Returns:
        ``top1`` and ``top5``, from 0 to 1; the number of ``images`` that they are of; and how many
        were ``skipped``, since they could not be decoded.

    Raises:
        ValueError: if the net does not know a class of the folder, or no image can be decoded.
    """
    labels = map_labels(predictor, folder)
    print_left_out(folder)
    predictor = predictor.to(device)
    loader = CachedImageLoader(folder, predictor.resize, num_workers, memory_fraction=0.0)
    correct, num_images = torch.zeros(2, dtype=torch.int64), 0
    index_batches = torch.arange(len(labels)).split(batch_size)
    with tqdm(total=len(labels), unit=" images", desc="evaluating", disable=None) as bar:
        for indices, images in loader.batches(index_batches):
            if len(indices):
                probabilities = predictor.probabilities(images.to(device), ten_crop).cpu()
                correct += topk_correct(probabilities, labels[indices])
            num_images += len(indices)
            bar.update(len(indices))
    for index, reason in sorted(loader.failures.items()):
        print(f"skipped: {folder.paths[index]} ({reason})", file=sys.stderr)
    if not num_images:
        raise ValueError(f"{folder.root}: none of the {len(labels)} images can be decoded")
    return {
        "top1": correct[0].item() / num_images,
        "top5": correct[1].item() / num_images,
        "images": num_images,
        "skipped": len(loader.failures),
    }


def classify_image(
    predictor: Predictor, path: str | Path, ten_crop: bool = False
) -> list[tuple[str, float]]:
    """The most probable classes of the image in a file, five of them if there are so many.

    Args:
        predictor: the net.
        path: of the file, or of a pipe.
        ten_crop: whether to average over ten crops.

    Returns:
        Names and probabilities, the most probable first.

    Raises:
        OSError: if the file cannot be read as an image.
    """
    try:
        image = resize_center_crop(decode_image(path), predictor.resize)
    except OSError as error:
        raise OSError(
            f"{path} cannot be read as an image ({error.strerror or error}): "
            "name a JPEG or PNG file"
        ) from error
    images = image[None].to(predictor.mean.device)
    probabilities = predictor.probabilities(images, ten_crop)[0].cpu()
    best = probabilities.topk(min(5, len(probabilities)))
    names = [predictor.class_name(label) for label in best.indices.tolist()]
    return list(zip(names, best.values.tolist()))


def map_labels(predictor: Predictor, folder: ImageFolderIndex) -> Tensor:
    """The folder's labels as the net numbers its classes: int64 (N,).

    Classes are matched by name, in whatever form of Unicode. For torchvision's weights, whose
    folders are not called like its classes, their order counts.

    Raises:
        ValueError: if the net does not know a class of the folder.
    """
    known = [canonical_name(name) for name in predictor.classes]
    names = [canonical_name(name) for name in folder.classes]
    if known == names or not known:
        return folder.labels
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"{folder.root} has classes that the net was not trained on, such as {unknown[0]!r}; "
            f"it knows {join_names(known)}"
        )
    return torch.tensor([known.index(name) for name in names])[folder.labels]


def main(arguments: list[str] | None = None) -> None:
    """The command.

    Args:
        arguments: those of the command line, if None.

    Raises:
        SystemExit: with a sentence and a status that is not 0, unless it succeeds.
    """
    parser = _make_parser()
    args = parser.parse_args(arguments)
    if args.workers <= 0:
        parser.error(f"--workers must be > 0, got {args.workers}")
    try:
        resolve_device(args.device)
        predictor = load(args.weights)
        if args.image:
            _print_classes(predictor.to(args.device), args)
        else:
            _print_accuracy(predictor, args)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped before the end")


def _print_classes(predictor: Predictor, args: argparse.Namespace) -> None:
    for name, probability in classify_image(predictor, args.image, args.ten_crop):
        print(printable(f"{probability:6.1%} {name}"))


def _print_accuracy(predictor: Predictor, args: argparse.Namespace) -> None:
    folder = scan_image_folder(args.data)
    if not predictor.classes and len(folder.classes) != 1000:
        raise ValueError(
            f"{folder.root} must have the 1000 classes of ImageNet that torchvision's weights "
            f"know, in the order of their folders, got {len(folder.classes)} classes"
        )
    result = evaluate(predictor, folder, args.ten_crop, args.device, args.workers)
    views = "ten crops" if args.ten_crop else "center crop"
    accuracy = f"top-1 {result['top1']:.2%}, top-5 {result['top5']:.2%}"
    print(f"{result['images']:,} images, {views}: {accuracy}")
    print(json.dumps({name: result[name] for name in ("top1", "top5", "images")}))


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m alexnet.evaluate", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument(
        "--weights",
        default="small",
        help="checkpoint.pt or model.safetensors of alexnet.train, "
        f"{', '.join(SHIPPED)}, or torchvision (%(default)s)",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="folder with a folder of images for each class")
    source.add_argument("--image", type=Path, help="one image, to print its most probable classes")
    parser.add_argument(
        "--ten-crop",
        action="store_true",
        help="mean of the softmax over ten crops, as in the paper",
    )
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="to compute on (%(default)s)",
    )
    parser.add_argument(
        "--workers", type=int, default=usable_cores(), help="threads that decode (%(default)s)"
    )
    return parser


if __name__ == "__main__":
    main()
