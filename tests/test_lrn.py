import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from alexnet import LocalResponseNorm


def test_the_papers_defaults():
    """Section 3.3, in torch's terms but for alpha: k = 2, n = 5, beta = 0.75."""
    norm = LocalResponseNorm()
    assert (norm.size, norm.beta, norm.k, norm.groups) == (5, 0.75, 2.0, 1)


@given(
    groups=st.sampled_from([1, 2, 4]), maps=st.integers(1, 4), size=st.integers(1, 7), alpha=st.floats(1e-4, 1.0), extra=st.integers(0, 3)
)
@settings(deadline=None, max_examples=40)
def test_lrn_normalises_each_group_by_itself(groups, maps, size, alpha, extra):
    torch.manual_seed(0)
    x = torch.randn(2, groups * maps, *[3] * extra, dtype=torch.float64) * 10
    if extra == 0:
        x = x[..., None]
    norm = LocalResponseNorm(size, alpha, 0.75, 2.0, groups)
    parts = [F.local_response_norm(part, size, alpha, 0.75, 2.0) for part in x.chunk(groups, 1)]
    torch.testing.assert_close(norm(x), torch.cat(parts, 1))


def test_lrn_says_what_is_wrong():
    with pytest.raises(ValueError, match="6 maps cannot be normalised in 4 equal groups"):
        LocalResponseNorm(groups=4)(torch.zeros(1, 6, 2, 2))
