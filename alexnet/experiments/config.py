"""The configuration of one training run, and the base configurations the experiments start from."""

from dataclasses import dataclass, fields, replace
from typing import Literal, get_args, get_origin

# Written out, so that an editor completes them; tests compare them with the tables in nets.py
Net = Literal[
    "four-layer",
    "race",
    "one-hidden",
    "one-hidden, maps dropped",
    "half-small",
    "two-column",
    "first-layer",
    "tiny-imagenet",
]
Activation = Literal["relu", "tanh", "sigmoid"]
Norm = Literal["none", "paper's alpha", "code's alpha", "constant", "within maps", "batch"]
Init = Literal[
    "torch",
    "torch, normal",
    "he",
    "original",
    "original, biases 1",
    "original, by inputs",
    "paper, by inputs",
    "code, by inputs",
    "faint",
    "fainter",
]
Pixels = Literal["standardized", "raw"]
Augment = Literal["none", "flip", "crop", "color", "color only"]
Modification = Literal[
    "none",
    "columns that never talk",
    "no columns",
    "one GPU's half",
    "without LRN",
    "without conv3",
    "without conv4",
    "without conv5",
    "ReLU after pooling",
    "within-map normalisation",
    "code's alpha",
    "stacked 3×3",
    "global average pooling",
    "batch normalisation",
    "depthwise separable",
    "all four",
]
Schedule = Literal["constant", "linear"]
Order = Literal["shuffled", "fixed"]
Test = Literal["each epoch", "at the end", "never"]

# The initializations that each net was written for
INITS_OF_NET: dict[Net, tuple[Init, ...]] = {
    "four-layer": ("torch", "he", "original", "original, biases 1"),
    "race": ("torch, normal", "original, by inputs"),
    "one-hidden": ("he",),
    "one-hidden, maps dropped": ("he",),
    "half-small": ("he",),
    "two-column": ("he", "faint", "paper, by inputs", "code, by inputs"),
    "first-layer": ("faint", "fainter"),
    "tiny-imagenet": ("he", "faint", "fainter"),
}

# The nets with two columns and eight layers, of which parts can be changed
MODIFIED_NETS: tuple[Net, ...] = ("two-column", "tiny-imagenet")

# Numbers and the least value each may have; a dropout of 1 would drop everything
_AT_LEAST = {
    "train_images": 1,
    "images_per_crop": 1,
    "upscale": 1,
    "weight_decay": 0,
    "last_decay_factor": 0,
    "bias_lr_factor": 0,
    "first_lr_factor": 0,
    "inner_lr_factor": 0,
    "epochs": 1,
    "target_train_error": 0,
    "pretrain_epochs": 0,
    "seed": 0,
    "batch_size": 1,
    "momentum": 0,
    "dropout": 0,
}


@dataclass(frozen=True)
class ExperimentConfig:
    """One training run, from the net to the seed. A recorded run stores exactly these fields.

    Raises:
        ValueError: for an invalid value; the message names the field and what it may be.
    """

    net: Net = "four-layer"
    num_classes: int | None = None  # evenly spread over the list of all; None: all classes
    train_images: int = 50_000  # equally many of each class
    activation: Activation = "relu"
    norm: Norm = "none"  # of the four-layer net; the others have that of their variant
    # Which images a run is tested on. "each epoch": the test images, after each epoch. The others
    # hold the last tenth of the training images of each class out, to choose rates and settings by
    # the errors on them; "at the end" uses the test images once, after the last epoch.
    test: Test = "each epoch"
    pool: tuple[int, int] = (3, 2)  # window and stride
    init: Init = "he"
    # Both subtract the mean training image (without a crop) or the mean color (with one).
    # "raw" keeps 0 to 255, as the code of 2012; "standardized" divides by the deviation.
    pixels: Pixels = "standardized"
    crop: int | None = None  # side of the window cut from each image; None: the whole image
    upscale: int = 1  # the net gets windows that are so many times as high and wide
    # Each includes the one before, but for "color only"; anything but "none" needs a crop
    augment: Augment = "none"
    images_per_crop: int = 1  # consecutive images that share a random window and its flip
    # Of the training images: a new one in every epoch, or one random order for the whole run. The
    # code of 2012 has one for the whole run: it takes slices of its files one after the other
    # (data.cu). How these were filled is not in it.
    order: Order = "shuffled"
    modification: Modification = "none"  # of the nets in MODIFIED_NETS
    dropout: float = 0.0  # in the hidden fully connected layers, if a net has any; see nets.py
    weight_decay: float = 0.0  # of weights, not of biases
    last_decay_factor: float = 1.0  # weight decay of the last layer, as a multiple of the others'
    lr: float = 0.01
    bias_lr_factor: float = 1.0  # learning rate of the biases, as a multiple of lr
    first_lr_factor: float = 1.0  # learning rate of the first layer's weights, as a multiple of lr
    inner_lr_factor: float = 1.0  # that of all weights between the first and the last layer
    schedule: Schedule = "constant"  # "linear" falls from lr to zero
    epochs: int = 10  # at most
    target_train_error: float = 0.0  # fraction of the training images; a run ends below it
    # All layers but the last begin with what a run of PRETRAINING has learned, in so many epochs,
    # from the classes that num_classes leaves out. 0: they begin at random.
    pretrain_epochs: int = 0
    seed: int = 0
    batch_size: int = 128
    momentum: float = 0.9

    def __post_init__(self) -> None:
        for field in fields(self):
            if get_origin(field.type) is Literal:
                _check_choice(field.name, getattr(self, field.name), get_args(field.type))
        for name, least in _AT_LEAST.items():
            if not getattr(self, name) >= least:  # NaN fails this too
                raise ValueError(f"{name} must be >= {least}, got {getattr(self, name)}")
        if not self.lr > 0:
            raise ValueError(f"lr must be > 0, got {self.lr}")
        if not self.dropout < 1:
            raise ValueError(f"dropout must be < 1, got {self.dropout}")
        if self.num_classes is not None and self.num_classes < 1:
            raise ValueError(f"num_classes must be >= 1 or None, got {self.num_classes}")
        if self.crop is not None and self.crop < 1:
            raise ValueError(f"crop must be >= 1 or None, got {self.crop}")
        if len(self.pool) != 2 or min(self.pool) < 1:
            raise ValueError(f"pool must be a window and a stride >= 1, got {self.pool}")
        _check_choice(f"init of net={self.net!r}", self.init, INITS_OF_NET[self.net])
        if self.augment != "none" and self.crop is None:
            raise ValueError(f"augment={self.augment!r} needs a crop, got crop=None: set crop=24")
        if self.test != "each epoch" and self.crop is None:
            raise ValueError(f"test={self.test!r} needs a crop, got crop=None: set crop=56")
        if self.upscale != 1 and self.crop is None:
            raise ValueError(f"upscale={self.upscale} needs a crop, got crop=None: set crop=56")
        if self.pretrain_epochs and (self.num_classes is None or self.test == "each epoch"):
            raise ValueError(
                f"pretrain_epochs={self.pretrain_epochs} needs classes left out and images "
                f"held out, got num_classes={self.num_classes}, test={self.test!r}: "
                "set num_classes=40, test='at the end'"
            )
        if self.modification != "none":
            needed_by = f"net of modification={self.modification!r}"
            _check_choice(needed_by, self.net, MODIFIED_NETS)


def describe(config: ExperimentConfig) -> str:
    """The fields in which a configuration differs from the default one, such as "lr 0.03"."""
    default = ExperimentConfig()
    parts = []
    for field in fields(config):
        value = getattr(config, field.name)
        if value != getattr(default, field.name):
            parts.append(f"{field.name} {value}")
    return ", ".join(parts)


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


RECIPE_TODAY = ExperimentConfig(weight_decay=0.001, lr=0.03, schedule="linear", epochs=8)

# layers-18pct.cfg and layer-params-18pct.cfg, but in as many epochs as the paper's net had; the
# learning rate, 0.001 there, is searched, and falls linearly instead of by hand
RECIPE_2012 = ExperimentConfig(
    init="original",
    pixels="raw",
    weight_decay=0.004,
    last_decay_factor=250.0,
    lr=0.003,
    bias_lr_factor=2.0,
    schedule="linear",
    epochs=90,
)

# The first kernels start faint, so what is seen in them afterwards was learned
TWO_COLUMNS = ExperimentConfig(
    net="two-column",
    init="faint",
    crop=24,
    augment="flip",
    weight_decay=0.0005,
    lr=0.04,
    schedule="linear",
    batch_size=64,
    epochs=6,
)

# Half the maps of the variant "tiny-imagenet", and response normalization that acts: see nets.py
TINY_IMAGENET = ExperimentConfig(
    net="tiny-imagenet",
    train_images=90_000,
    test="at the end",
    init="faint",
    crop=56,
    augment="color",
    dropout=0.5,
    weight_decay=0.0005,
    lr=0.03,
    schedule="linear",
    epochs=8,
)

# What a net learns from other classes, before it learns those of TRANSFER. Its learning rate was
# not searched.
PRETRAINING = replace(TINY_IMAGENET, dropout=0.0, test="never")

# Fifty images of each of forty classes
TRANSFER = replace(
    TINY_IMAGENET, num_classes=40, train_images=2_000, batch_size=32, lr=0.01, epochs=60
)
