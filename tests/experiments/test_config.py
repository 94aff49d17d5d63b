from dataclasses import replace
from typing import get_args

import pytest

from alexnet.experiments import config as config_module
from alexnet.experiments.config import (
    INITS_OF_NET,
    RECIPE_2012,
    RECIPE_TODAY,
    TINY_IMAGENET,
    TWO_COLUMNS,
    ExperimentConfig,
    describe,
)
from alexnet.experiments.nets import INITS, NORMS, OVERRIDES, REMOVED_CONVS, REPLACEMENTS
from alexnet.model import ACTIVATIONS


@pytest.mark.parametrize(
    ("literal", "table"),
    [
        ("Activation", ACTIVATIONS),
        ("Norm", NORMS),
        ("Init", INITS),
        ("Modification", OVERRIDES | REPLACEMENTS | REMOVED_CONVS),
        ("Net", INITS_OF_NET),
    ],
)
def test_the_types_name_what_the_tables_hold(literal, table):
    assert set(get_args(getattr(config_module, literal))) == set(table)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"net": "columns"}, "net must be one of 'four-layer', .*, got 'columns'"),
        ({"activation": "gelu"}, "activation must be one of 'relu', .*, got 'gelu'"),
        ({"pixels": "bytes"}, "pixels must be one of 'standardized', 'raw', got 'bytes'"),
        ({"schedule": "cosine"}, "schedule must be one of .*, got 'cosine'"),
        ({"order": "sorted"}, "order must be one of 'shuffled', 'fixed', got 'sorted'"),
        ({"augment": "colour", "crop": 24}, "augment must be one of .*, got 'colour'"),
        ({"lr": 0}, "lr must be > 0, got 0"),
        ({"lr": float("nan")}, "lr must be > 0, got nan"),
        ({"momentum": float("nan")}, "momentum must be >= 0, got nan"),
        ({"epochs": 0}, "epochs must be >= 1, got 0"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
        ({"weight_decay": -0.1}, "weight_decay must be >= 0, got -0.1"),
        ({"dropout": 1.0}, "dropout must be < 1, got 1.0"),
        ({"crop": 0}, "crop must be >= 1 or None, got 0"),
        ({"pool": (3, 0)}, r"pool must be a window and a stride >= 1, got \(3, 0\)"),
        ({"augment": "flip"}, "augment='flip' needs a crop, got crop=None: set crop=24"),
        (
            {"modification": "all four"},
            "net of modification='all four' must be one of 'two-column', 'tiny-imagenet', "
            "got 'four-layer'",
        ),
        ({"test": "always"}, "test must be one of 'each epoch', .*, got 'always'"),
        ({"test": "never"}, "test='never' needs a crop, got crop=None: set crop=56"),
        ({"upscale": 2}, "upscale=2 needs a crop, got crop=None: set crop=56"),
        ({"num_classes": 0}, "num_classes must be >= 1 or None, got 0"),
        (
            {"pretrain_epochs": 2, "num_classes": 4},
            "pretrain_epochs=2 needs classes left out and images held out, got num_classes=4, "
            "test='each epoch': set num_classes=40, test='at the end'",
        ),
        (
            {"pretrain_epochs": 2, "test": "at the end", "crop": 56},
            "pretrain_epochs=2 needs .*, got num_classes=None, test='at the end': set .*",
        ),
    ],
)
def test_a_value_that_a_field_may_not_have_is_named(values, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        ExperimentConfig(**values)


def test_an_initialization_that_a_net_does_not_have():
    message = "^init of net='half-small' must be one of 'he', got 'original'$"
    with pytest.raises(ValueError, match=message):
        ExperimentConfig(net="half-small", init="original")


def test_the_base_configurations():
    assert RECIPE_TODAY.net == RECIPE_2012.net == "four-layer"
    assert TWO_COLUMNS.net == "two-column" and TWO_COLUMNS.crop == 24
    assert TINY_IMAGENET.net == "tiny-imagenet" and TINY_IMAGENET.crop == 56


def test_a_description_names_what_differs_from_the_default():
    assert describe(ExperimentConfig()) == ""
    assert describe(replace(RECIPE_TODAY, seed=1)) == (
        "weight_decay 0.001, lr 0.03, schedule linear, epochs 8, seed 1"
    )
