"""What one training run of an experiment is: every setting of it, from the net to the seed."""


from dataclasses import dataclass



@dataclass(frozen=True)
class ExperimentConfig:
    """One training run, from the net to the seed. The recorded file holds these fields, and no other knows more."""

    net: str = "four-layer"  # or a name in NETS
    images: int = 50_000  # training images, equally many of each class
    activation: str = "relu"
    norm: str = "none"  # a name in NORMS
    pool: tuple[int, int] = (3, 2)  # window and stride
    init: str = "he"  # a name in INITS
    scale: str = "standardised"  # pixels minus the mean image, over the standard deviation that prepare() takes
    # or "raw": 0 to 255, minus the mean image; or "bytes" and "raw bytes": 0 to 255, for an augmentation to work on, which
    # then takes the mean colour away, and of "bytes" divides by the standard deviation
    augment: str = "none"  # of bytes, a name in augmentation_of()
    share: int = 1  # images in a row that share a random window and its flip
    change: str = "none"  # of the net "columns": a name in CHANGES or REPLACEMENTS
    dropout: float = 0.0  # in the hidden fully connected layers, which the four-layer net has not
    decay: float = 0.0  # of the weights, not of the biases
    last_decay: float = 1.0  # that of the last layer's weights, in decays of the others
    rate: float = 0.01
    bias_rate: float = 1.0  # that of the biases, in rates of the weights
    schedule: str = "constant"  # or "linear", from the rate to zero
    epochs: int = 10  # at most
    target: float = 0.0  # training error that ends the run
    seed: int = 0
    batch: int = 128
    momentum: float = 0.9


RECIPE_TODAY = ExperimentConfig(decay=0.001, rate=0.03, schedule="linear", epochs=8)


# layers-18pct.cfg, in as many epochs as the paper's net had, and with a rate that falls in a line instead of by hand
RECIPE_2012 = ExperimentConfig(init="original", scale="raw", decay=0.004, last_decay=250.0, rate=0.003, bias_rate=2.0, schedule="linear", epochs=90)


# The first kernels are faint, so that what is seen in them was learned
TWO_COLUMNS = ExperimentConfig(net="columns", init="faint", scale="bytes", augment="flip", decay=0.0005, rate=0.04, schedule="linear", batch=64, epochs=6)
