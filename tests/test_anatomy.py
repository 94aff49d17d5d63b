import pytest
import torch
import torchvision
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from alexnet import AlexNet
from alexnet.anatomy import LayerInfo, anatomy


def rows_of(model, size):
    return {row.layer.split(".")[-1]: row for row in anatomy(model, size)}


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "resnet18"])
def test_totals_match_torchvisions_metadata(name):
    meta = torchvision.models.get_model_weights(name).DEFAULT.meta
    total = anatomy(getattr(torchvision.models, name)(), 224).total
    assert total.parameters == meta["num_params"]
    assert total.multiply_adds / 1e9 == pytest.approx(meta["_ops"], rel=0.01)


def test_the_paper_by_hand():
    rows = rows_of(AlexNet(), 224)
    conv2 = rows["conv2"]
    assert conv2.output == (256, 27, 27) and conv2.groups == 2
    assert conv2.neurons == 256 * 27 * 27
    assert conv2.parameters == 256 * (5 * 5 * 48 + 1)
    assert conv2.multiply_adds == 256 * 27 * 27 * 5 * 5 * 48
    assert conv2.weight_bytes == 4 * conv2.parameters and conv2.activation_bytes == 4 * conv2.neurons
    assert rows["fc6"].multiply_adds == 9216 * 4096 and rows["fc6"].receptive_field == 224
    assert rows["norm1"].groups == 2 and rows["act1"].neurons == 0
    # 11; + 2·4; + 4·8; + 2·8; + 2·16 three times; + 2·16
    fields = [rows[name].receptive_field for name in ("conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5")]
    assert fields == [11, 19, 51, 67, 99, 131, 163, 195]


def test_the_model_is_left_as_it_was():
    model = AlexNet(10, "small")
    model.train()
    model.classifier.drop6.eval()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    anatomy(model, 32)
    assert model.training and not model.classifier.drop6.training and model.classifier.drop7.training
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(ValueError, match="takes images of 32×32"):
        anatomy(model, 224)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_module_called_twice_counts_its_parameters_once():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    rows = anatomy(nn.Sequential(shared, nn.ReLU(), shared), 8)
    assert [row.parameters for row in rows] == [84, 0, 0] and rows[2].multiply_adds == rows[0].multiply_adds
    assert rows.total.parameters == 84


def test_says_what_it_cannot_follow():
    with pytest.raises(TypeError, match="anatomy cannot follow the net, a VisionTransformer: it has parameters outside its layers"):
        anatomy(torchvision.models.vit_b_16(), 224)

    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)

        def forward(self, x):
            return self.last(nn.functional.max_pool2d(self.first(x), 2))

    model = Functional()
    with pytest.raises(TypeError, match="anatomy cannot follow last, a Conv2d"):
        anatomy(model, 32)
    with pytest.raises(ValueError, match=r"in whole pixels, such as 224, not \(32, 32\)"):
        anatomy(model, (32, 32))
    assert not any(module._forward_hooks for module in model.modules())


def test_half_precision_counts_half_the_bytes():
    for dtype in (torch.float16, torch.bfloat16):
        model = AlexNet(10, "small").to(dtype)
        assert 2 * anatomy(model, 32).total.weight_bytes == anatomy(model.float(), 32).total.weight_bytes


def test_adaptive_pooling_has_the_widest_of_its_windows():
    fields = [anatomy(nn.Sequential(nn.AdaptiveAvgPool2d(n)), size)[0].field for size, n in ((5, 3), (8, 6), (12, 6), (7, 1))]
    assert fields == [3, 2, 2, 7]


def test_of_two_branches_the_larger_field_counts():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide, self.narrow, self.last = nn.Conv2d(3, 3, 7, padding=3), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return self.last(self.narrow(x) + self.wide(x))

    assert rows_of(Branches(), 32)["last"].field == 9


def test_in_place_layers_write_over_their_input():
    rows = anatomy(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.ReLU()), 8)
    assert [row.activation_bytes for row in rows] == [4 * 4 * 36, 0, 4 * 4 * 36]


LAYERS = st.lists(
    st.tuples(st.sampled_from(["conv", "pool"]), st.integers(1, 5), st.integers(1, 3), st.integers(0, 2)), min_size=1, max_size=4
).filter(lambda layers: all(kernel >= stride and (kind == "conv" or 2 * padding <= kernel) for kind, kernel, stride, padding in layers))


@given(layers=LAYERS, place=st.floats(0, 1), dilation=st.integers(1, 2))
@settings(deadline=None, max_examples=60)
def test_the_field_is_what_the_gradient_reaches(layers, place, dilation):
    """In a net with positive weights, an output depends on all pixels of its field and on no other."""
    modules = [
        nn.AvgPool2d(kernel, stride, padding) if kind == "pool" else nn.Conv2d(3, 3, kernel, stride, padding)
        for kind, kernel, stride, padding in layers
    ]
    modules.insert(0, nn.Conv2d(3, 3, 3, dilation=dilation))
    model, size = nn.Sequential(*modules).double(), 64
    image = torch.rand(1, 3, size, size, dtype=torch.float64, requires_grad=True)
    for module in model:
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1.0)
    try:
        output = model(image)
    except RuntimeError:  # no position is left of the picture
        assume(False)
    row = anatomy(model, size)[-1]
    assume(row.receptive_field < size)  # it is cut to the picture there
    unit = round(place * (output.shape[3] - 1))
    output[0, 0, unit, unit].backward()
    reached = image.grad[0].sum((0, 1)).nonzero().flatten().tolist()
    first = row.start + unit * row.jump
    inside = [pixel for pixel in range(first, first + row.receptive_field) if 0 <= pixel < size]
    assume(inside and first >= 0 and first + row.receptive_field <= size)  # nothing of it in the padding
    assert [reached[0], reached[-1]] == [inside[0], inside[-1]]


def test_prints_as_a_table_and_shows_as_one():
    rows = anatomy(AlexNet(10, "small"), 32)
    text = str(rows).splitlines()
    assert text[0].split()[:3] == ["layer", "parameters", "multiply"]
    assert text[-1].split() == ["total", "969,098", "52,401,344", "115,914", "3,876,392", "1,390,484"]
    assert len(text) == len(rows) + 4
    html = rows._repr_html_()
    assert html.count("<tr>") == len(rows) + 2 and "<td>102,528</td>" in html
    assert isinstance(rows, list) and isinstance(rows[0], LayerInfo)
