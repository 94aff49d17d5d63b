import pytest

from alexnet.datasets import photo_patches


@pytest.fixture(scope="session")
def patches():
    """128 training and 32 test patches of photographs, in memory."""
    return photo_patches(128)
