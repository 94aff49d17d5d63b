import pytest
import torch
import torchvision
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from alexnet import AlexNet
from alexnet.anatomy import LayerInfo, anatomy


def layers_by_name(model, size):
    return {info.name: info for info in anatomy(model, size)}


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "resnet18"])
def test_totals_match_torchvisions_metadata(name):
    meta = torchvision.models.get_model_weights(name).DEFAULT.meta
    total = anatomy(getattr(torchvision.models, name)(), 224).total
    assert total.parameters == meta["num_params"]
    assert total.multiply_adds / 1e9 == pytest.approx(meta["_ops"], rel=0.01)


def test_the_papers_net_by_hand():
    layers = layers_by_name(AlexNet(), 224)
    conv2 = layers["conv2"]
    assert conv2.output == (256, 27, 27) and conv2.groups == 2
    assert conv2.neurons == 256 * 27 * 27
    assert conv2.parameters == 256 * (5 * 5 * 48 + 1)
    assert conv2.multiply_adds == 256 * 27 * 27 * 5 * 5 * 48
    assert conv2.weight_bytes == 4 * conv2.parameters
    assert conv2.activation_bytes == 4 * conv2.neurons
    assert layers["fc6"].multiply_adds == 9216 * 4096 and layers["fc6"].receptive_field == 224
    assert layers["norm1"].groups == 2 and layers["act1"].neurons == 0
    # 11; + 2·4; + 4·8; + 2·8; + 2·16 three times; + 2·16
    names = ["conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5"]
    fields = [layers[name].receptive_field for name in names]
    assert fields == [11, 19, 51, 67, 99, 131, 163, 195]


def test_names_of_layers():
    infos = anatomy(AlexNet(10, "small"), 32)
    assert (infos[0].layer, infos[0].name) == ("features.pad1", "pad1")
    assert (infos[-1].layer, infos[-1].name) == ("classifier.fc8", "fc8")
    assert anatomy(nn.Conv2d(3, 3, 3), 8)[0].name == ""  # a net of one layer


def test_the_model_keeps_its_weights_and_modes_and_no_hooks():
    model = AlexNet(10, "small")
    model.train()
    model.classifier.drop6.eval()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    anatomy(model, 32)
    assert model.training and model.classifier.drop7.training
    assert not model.classifier.drop6.training
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(ValueError, match="takes images of 32×32"):
        anatomy(model, 224)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_module_called_twice_counts_its_parameters_once():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    infos = anatomy(nn.Sequential(shared, nn.ReLU(), shared), 8)
    assert [info.parameters for info in infos] == [84, 0, 0]
    assert infos[2].multiply_adds == infos[0].multiply_adds
    assert infos.total.parameters == 84


def test_errors_name_the_layer_that_anatomy_cannot_follow():
    message = (
        "anatomy cannot follow the net, a VisionTransformer: it has parameters outside its layers"
    )
    with pytest.raises(TypeError, match=message):
        anatomy(torchvision.models.vit_b_16(), 224)

    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 3, 3)
            self.last = nn.Conv2d(3, 3, 3)

        def forward(self, x):
            return self.last(F.max_pool2d(self.first(x), 2))

    model = Functional()
    with pytest.raises(TypeError, match="anatomy cannot follow last, a Conv2d"):
        anatomy(model, 32)
    with pytest.raises(ValueError, match=r"whole number of pixels >= 1, .*, got \(32, 32\)"):
        anatomy(model, (32, 32))
    assert not any(module._forward_hooks for module in model.modules())


def test_half_precision_counts_half_the_bytes():
    for dtype in (torch.float16, torch.bfloat16):
        model = AlexNet(10, "small").to(dtype)
        half = anatomy(model, 32).total
        single = anatomy(model.float(), 32).total
        assert 2 * half.weight_bytes == single.weight_bytes


@pytest.mark.parametrize("size, outputs, field", [(5, 3, 3), (8, 6, 2), (12, 6, 2), (7, 1, 7)])
def test_adaptive_pooling_has_the_field_of_its_largest_window(size, outputs, field):
    [info] = anatomy(nn.Sequential(nn.AdaptiveAvgPool2d(outputs)), size)
    assert info.receptive_field == field


def test_of_two_branches_the_larger_receptive_field_counts():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide = nn.Conv2d(3, 3, 7, padding=3)
            self.narrow = nn.Conv2d(3, 3, 1)
            self.last = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return self.last(self.narrow(x) + self.wide(x))

    assert layers_by_name(Branches(), 32)["last"].receptive_field == 9


def test_layers_in_place_have_no_activation_bytes():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.ReLU())
    infos = anatomy(model, 8)
    assert [info.activation_bytes for info in infos] == [4 * 4 * 36, 0, 4 * 4 * 36]


def is_followed(layers):
    """Whether the windows leave no gap, and PyTorch takes the padding."""
    for kind, kernel, stride, padding in layers:
        if kernel < stride or (kind == "pool" and 2 * padding > kernel):
            return False
    return True


LAYERS = st.lists(
    st.tuples(
        st.sampled_from(["conv", "pool"]), st.integers(1, 5), st.integers(1, 3), st.integers(0, 2)
    ),
    min_size=1,
    max_size=4,
).filter(is_followed)


@given(layers=LAYERS, position=st.floats(0, 1), dilation=st.integers(1, 2))
@settings(deadline=None, max_examples=60)
def test_the_receptive_field_is_what_the_gradient_reaches(layers, position, dilation):
    """With positive weights, an output depends on all pixels of its field and on no other."""
    modules = [nn.Conv2d(3, 3, 3, dilation=dilation)]
    for kind, kernel, stride, padding in layers:
        if kind == "pool":
            modules.append(nn.AvgPool2d(kernel, stride, padding))
        else:
            modules.append(nn.Conv2d(3, 3, kernel, stride, padding))
    model = nn.Sequential(*modules).double()
    for module in model:
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1.0)
    size = 64
    image = torch.rand(1, 3, size, size, dtype=torch.float64, requires_grad=True)
    try:
        output = model(image)
    except RuntimeError:  # the layers leave no position of the image
        assume(False)
    info = anatomy(model, size)[-1]
    assume(info.receptive_field < size)  # a larger one is clipped to the image
    unit = round(position * (output.shape[3] - 1))
    output[0, 0, unit, unit].backward()
    reached = image.grad[0].sum((0, 1)).nonzero().flatten().tolist()
    first = info.start + unit * info.jump
    last = first + info.receptive_field - 1
    assume(first >= 0 and last < size)  # nothing of it in the padding
    assert [reached[0], reached[-1]] == [first, last]


def test_anatomy_prints_as_a_table_and_displays_as_html():
    infos = anatomy(AlexNet(10, "small"), 32)
    text = str(infos).splitlines()
    assert text[0].split()[:3] == ["layer", "parameters", "multiply"]
    sums = ["969,098", "52,401,344", "115,914", "3,876,392", "1,390,484"]
    assert text[-1].split() == ["total", *sums]
    assert len(text) == len(infos) + 4
    html = infos._repr_html_()
    assert html.count("<tr>") == len(infos) + 2 and "<td>102,528</td>" in html
    assert isinstance(infos, list) and isinstance(infos[0], LayerInfo)


def test_the_heading_of_the_receptive_field_is_field():
    """The chapters show this table, and their text calls the column so."""
    infos = anatomy(AlexNet(10, "small"), 32)
    headings = str(infos).splitlines()[0].split()
    assert " ".join(headings) == (
        "layer parameters multiply adds neurons output groups field kind weight bytes "
        "activation bytes"
    )
    assert '<th scope="col">field</th>' in infos._repr_html_()
