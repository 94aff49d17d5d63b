"""What a fixed order of the training images does, as the source of 2012 has it.

The source takes slices of its data files one after the other (``data.cu``), so that the same images
share a batch, and a random window, in every epoch.
"""

from pathlib import Path

from alexnet.bookkit.findings import final_errors, load_runs
from alexnet.bookkit.stats import Interval, mean_difference
from alexnet.experiments.runner import RUNS

IMAGES_PER_CROP = (1, 32)


def order_errors(folder: Path = RUNS) -> dict[tuple[str, int], list[float]]:
    """The test errors of the experiment ``order`` in percent, by order and images per window.

    Args:
        folder: where ``order.json`` is.

    Returns:
        Nothing if the experiment was not recorded.
    """
    if not (folder / "order.json").exists():
        return {}
    errors = {}
    for images_per_crop in IMAGES_PER_CROP:
        for order in ("shuffled", "fixed"):
            fields = {"order": order, "images_per_crop": images_per_crop}
            runs = load_runs("order", folder, epochs=20, **fields)
            errors[order, images_per_crop] = final_errors(runs)
    return errors


def effect_of_order(errors: dict[tuple[str, int], list[float]]) -> dict[int, Interval]:
    """By how many points the test error is lower with a new order in every epoch.

    Args:
        errors: from :func:`order_errors`.

    Returns:
        The difference by the number of images that share a window.
    """
    found = {}
    for images_per_crop in IMAGES_PER_CROP:
        fixed = errors["fixed", images_per_crop]
        shuffled = errors["shuffled", images_per_crop]
        found[images_per_crop] = mean_difference(fixed, shuffled)
    return found


def describe_order(folder: Path = RUNS) -> str:
    """Write the four settings with their errors, or that they were not run."""
    errors = order_errors(folder)
    if not errors:
        return "not run here; python -m alexnet.experiments order would run it"
    lines = ["order     images a window  test error (%)"]
    for (order, images_per_crop), found in errors.items():
        values = " ".join(f"{error:.1f}" for error in found)
        lines.append(f"{order:9} {images_per_crop:15}  {values}")
    for images_per_crop, interval in effect_of_order(errors).items():
        lines.append(f"fixed minus shuffled, {images_per_crop:2} a window: {interval:+z.1f} points")
    return "\n".join(lines)
