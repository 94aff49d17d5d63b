""""""


import argparse
import json
import os
import sys
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from alexnet.distributed import resolve_device
from alexnet.loader import ImageFolderIndex, CachedImageLoader, decode_image, scan_image_folder, resize_center_crop
from alexnet.predictor import Predictor, topk_correct, load



def evaluate(trained: Predictor, folder: ImageFolderIndex, ten: bool = False, device: torch.device | str = "cpu", workers: int = 2, batch: int = 64) -> dict:
    """Accuracy on a folder of class folders.

    Returns:
        ``top1`` and ``top5``, shares from 0 to 1, of so many ``images``; ``skipped``, those that could not be decoded.

    Raises:
        ValueError: if the folder has classes that the net does not know, or no picture can be decoded.
    """
    labels = _map_labels(trained, folder)
    trained = trained.to(device)
    squares = CachedImageLoader(folder, trained.resize, workers, share=0.0)
    found, images = torch.zeros(2, dtype=torch.int64), 0
    with tqdm(total=len(labels), unit=" images", desc="evaluating", disable=None) as bar:
        for indices, some in squares.batches(torch.arange(len(labels)).split(batch)):
            if len(indices):
                found += topk_correct(trained.probabilities(some.to(device), ten).cpu(), labels[indices])
            images += len(indices)
            bar.update(len(indices))
    for i, reason in sorted(squares.broken.items()):
        print(f"skipped: {folder.paths[i]} ({reason})", file=sys.stderr)
    if not images:
        raise ValueError(f"{folder.root}: none of the {len(labels)} pictures can be decoded")
    return {"top1": found[0].item() / images, "top5": found[1].item() / images, "images": images, "skipped": len(squares.broken)}


def classify_image(trained: Predictor, path: str | Path, ten: bool = False) -> list[tuple[str, float]]:
    """The five most probable classes of the picture in a file, or as many as there are, and their probabilities.

    Raises:
        OSError: if the file cannot be read as a picture.
    """
    try:
        image = resize_center_crop(decode_image(path), trained.resize)
    except OSError as problem:
        raise OSError(f"{path} cannot be read as a picture ({problem.strerror or problem}): name a JPEG or PNG file") from problem
    probabilities = trained.probabilities(image[None].to(trained.mean.device), ten)[0].cpu()
    best = probabilities.topk(min(5, len(probabilities)))
    return [(trained.class_name(i), value) for value, i in zip(best.values.tolist(), best.indices.tolist())]


def _map_labels(trained: Predictor, folder: ImageFolderIndex) -> Tensor:
    """The folder's labels, as the net numbers its classes: by name, or, where torchvision's names are words, by order."""
    if trained.classes == folder.classes or not trained.classes:
        return folder.labels
    unknown = [name for name in folder.classes if name not in trained.classes]
    if unknown:
        raise ValueError(
            f"{folder.root} has classes that the net was not trained on, such as {unknown[0]!r}; it knows {', '.join(trained.classes[:5])}"
            f"{', ...' if len(trained.classes) > 5 else ''}"
        )
    return torch.tensor([trained.classes.index(name) for name in folder.classes])[folder.labels]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m alexnet.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="small", help="checkpoint.pt or model.safetensors of alexnet.train, small, or torchvision (%(default)s)")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", type=Path, help="folder with a folder of pictures for each class")
    what.add_argument("--image", type=Path, help="one picture: what is it?")
    parser.add_argument("--ten-crop", action="store_true", help="mean of the softmax over ten views, as in the paper")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(%(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="threads that decode (%(default)s)")
    options = parser.parse_args(arguments)
    if options.workers < 1:
        parser.error(f"--workers is 1 or more, not {options.workers}")
    try:
        resolve_device(options.device)
        if options.image:
            for name, probability in classify_image(load(options.weights).to(options.device), options.image, options.ten_crop):
                print(f"{probability:6.1%} {name}")
            return
        trained, folder = load(options.weights), scan_image_folder(options.data)
        if not trained.classes and len(folder.classes) != 1000:
            raise ValueError(f"{folder.root} has {len(folder.classes)} classes: torchvision's weights know ImageNet's 1000, in the order of their folders")
        found = evaluate(trained, folder, options.ten_crop, options.device, options.workers)
    except (OSError, ValueError) as problem:
        sys.exit(str(problem))
    except KeyboardInterrupt:
        sys.exit("stopped before the end")
    views = "ten crops" if options.ten_crop else "centre crop"
    print(f"{found['images']:,} images, {views}: top-1 {found['top1']:.2%}, top-5 {found['top5']:.2%}")
    print(json.dumps({name: found[name] for name in ("top1", "top5", "images")}))


if __name__ == "__main__":
    main()
