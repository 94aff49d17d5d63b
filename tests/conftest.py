import pytest

from alexnet.datasets import photo_patches


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory):
    """A data set on disk: JPEG patches of eight photographs, 160 to train on, 40 to test on."""
    root = tmp_path_factory.mktemp("patches")
    photo_patches(160, 36).save(root, "jpg")
    return root
