"""What `models.from_torch` promises: batches, transformations, dtypes, weights, outputs, and what it refuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save

from cnnjax import models
from cnnjax.errors import InputError

torch = pytest.importorskip("torch", reason="networks of PyTorch need torch")
side = pytest.importorskip("tests.bridge.torch_side", reason="networks of PyTorch need torch")
networks = pytest.importorskip("tests.bridge.torch_networks", reason="networks of PyTorch need torch")
nn = torch.nn


def small():
    return networks.ResNet(networks.BasicBlock, depths=(1,))


@pytest.fixture(scope="module")
def resnet():
    module = side.drawn(small)
    return module, *models.from_torch(module, (16, 16, 3))


class Function(nn.Module):
    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x):
        return self.f(x)


def test_batches_have_any_size(resnet):
    module, forward, variables = resnet
    for batch in (1, 2, 5):
        images = side.pixels(batch, 16)
        assert side.difference(forward(variables, images)[0], side.results(module, images)[0].numpy()) < 1e-5


def test_the_module_is_left_as_it_was():
    module = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout()).train()
    before = {name: x.clone() for name, x in module.state_dict().items()}
    models.from_torch(module, (4, 4, 3))
    assert module.training
    assert module[1].training
    assert all(torch.equal(x, module.state_dict()[name]) for name, x in before.items())


def test_pixels_are_standardised_by_channel():
    forward, variables = models.from_torch(nn.Identity(), (2, 2, 3), mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    logits, _ = forward(variables, side.pixels(2, 2))
    expected = (side.pixels(2, 2) - np.float32((0.1, 0.2, 0.3))) / np.float32((0.5, 1.0, 2.0))
    np.testing.assert_allclose(logits, expected, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_jit_vmap_and_derivatives_are_those_of_pytorch(resnet):
    module, forward, variables = resnet
    images, direction = side.pixels(3, 16), side.pixels(3, 16, seed=1)
    logits = lambda params, x: forward({**variables, "params": params}, x)[0]  # noqa: E731
    params = variables["params"]

    x = torch.tensor(images).permute(0, 3, 1, 2)
    along = torch.tensor(direction).permute(0, 3, 1, 2)
    torchs = {name: p.detach() for name, p in module.named_parameters()}
    theirs = lambda params, x: torch.func.functional_call(module, params, (x,))  # noqa: E731
    _, tangent = torch.func.jvp(lambda x: theirs(torchs, x), (x,), (along,))
    gradients = torch.func.grad(lambda params, x: theirs(params, x).square().sum(), argnums=(0, 1))(torchs, x)

    # The module's rectifiers write in place, which takes another path there; the derivative is the same.
    _, ours = jax.jvp(lambda x: logits(params, x), (jnp.asarray(images),), (jnp.asarray(direction),))
    assert side.difference(ours, tangent.numpy()) < 1e-5
    by_params, by_pixels = jax.jit(jax.grad(lambda p, x: (logits(p, x) ** 2).sum(), (0, 1)))(params, images)
    assert side.difference(by_pixels, gradients[1].numpy()) < 1e-5
    assert by_params.keys() == gradients[0].keys()
    assert all(side.difference(by_params[n], g.numpy()) < 3e-5 for n, g in gradients[0].items() if n != "fc.bias")

    mapped = jax.vmap(lambda x: logits(params, x))(jnp.stack([images, direction]))
    np.testing.assert_allclose(mapped[1], logits(params, direction), rtol=1e-4, atol=1e-5)


def test_a_module_in_bfloat16_computes_in_it():
    module = side.drawn(small).bfloat16()
    images = side.pixels(2, 16)
    forward, variables = models.from_torch(module, (16, 16, 3))
    logits, activations = forward(variables, images)
    assert {a.dtype for a in [logits, *activations.values()]} == {jnp.dtype(jnp.bfloat16)}
    assert {p.dtype for p in variables["params"].values()} == {jnp.dtype(jnp.bfloat16)}
    expected, _ = side.results(module, images, torch.bfloat16)
    # Half a dozen roundings to 8 bits.
    assert side.difference(logits.astype(jnp.float32), expected.float().numpy()) < 0.03


def test_variables_are_a_file_for_pytorch_and_back(resnet, tmp_path):
    module, forward, variables = resnet
    assert set(variables["params"]) == {name for name, _ in module.named_parameters()}
    arrays = {name: np.asarray(x) for kind in variables.values() for name, x in kind.items()}
    load = pytest.importorskip("safetensors.torch").load
    other = small().eval()
    other.load_state_dict(load(save(arrays)))
    images = side.pixels(2, 16)
    torch.testing.assert_close(side.results(other, images)[0], side.results(module, images)[0], rtol=0, atol=0)
    changed = {**variables, "params": {**variables["params"], "fc.bias": variables["params"]["fc.bias"] + 1}}
    np.testing.assert_allclose(forward(changed, images)[0], forward(variables, images)[0] + 1, rtol=1e-5, atol=1e-6)


def test_activations_stand_in_forward_order_under_the_calls_that_return_them():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()
            self.both = Function(lambda x: (x + 1, x * 2))

        def forward(self, x):
            first, second = self.both(self.relu(self.conv(x)))
            return self.relu(self.conv(first + second)).mean((2, 3))

    forward, variables = models.from_torch(side.drawn(Twice), (6, 6, 3))
    _, activations = forward(variables, side.pixels(2, 6))
    assert list(activations) == ["conv", "relu", "both[0]", "both[1]", "conv@1", "relu@1"]
    np.testing.assert_allclose(activations["both[0]"], activations["relu"] + 1, rtol=1e-6)


def test_maps_have_their_channels_last_and_are_not_moved_between_layers(resnet):
    _, forward, variables = resnet
    program = jax.make_jaxpr(lambda x: forward(variables, x))(jnp.zeros((7, 16, 16, 3))).jaxpr
    moved = [eqn.invars[0].aval.shape for eqn in program.eqns if eqn.primitive.name == "transpose"]
    # Kernels are; what has the seven images is not.
    assert len(moved) >= 3
    assert [shape for shape in moved if shape[0] == 7] == []


@dataclasses.dataclass
class Scores:
    scores: torch.Tensor
    hidden: torch.Tensor


@pytest.mark.parametrize(
    ("result", "output", "expected"),
    [
        (lambda x: {"logits": 2 * x, "hidden": x}, None, 2),
        (lambda x: {"a": 2 * x, "hidden": (x, 3 * x)}, "hidden.1", 3),
        (lambda x: (x, 4 * x), 1, 4),
        (lambda x: [5 * x], None, 5),
        (lambda x: Scores(6 * x, x), "scores", 6),
        (lambda x: (7 * x, None, 2.0), None, 7),
    ],
)
def test_of_several_arrays_the_logits_are_the_ones_called_so_or_asked_for(result, output, expected):
    forward, variables = models.from_torch(Function(result), (2, 2, 3), output=output)
    np.testing.assert_allclose(forward(variables, side.pixels(1, 2))[0], expected * side.pixels(1, 2), rtol=1e-6)


@pytest.mark.parametrize(
    ("result", "options", "message"),
    [
        (lambda x: (x, 2 * x), {}, r"the module returns 0, 1: say which are the logits, as output=0"),
        (lambda x: {"a": x, "b": x}, {"output": "c"}, r"output='c' is not among what the module returns: a, b"),
        (lambda x: x if x.sum() > 0 else -x, {}, r"torch.export refuses Function .* replace `if` and `while`"),
        (lambda x: x * int(x.sum()), {}, "depends on values: .* numbers taken from arrays by arrays"),
        (lambda x: x[x.sum((1, 2, 3)) > 0], {}, "aten.index.Tensor in the network's own forward gives as many values"),
        (lambda x: x.reshape(3, -1), {}, "one size of batch only"),
        (
            lambda x: Scores(x, 2 * x),
            {},
            "the module returns scores, hidden: say which are the logits, as output='scores'",
        ),
        (lambda x: None, {}, "the module returns no array"),
        (lambda x: 3.0, {}, "the module returns no array"),
        (lambda x: object(), {}, "Return arrays in a tuple, a dict or a dataclass"),
        (lambda x: torch.from_numpy(np.tanh(x.numpy())), {}, "use its functions in place of NumPy's"),
        (lambda x: x @ x, {}, r"refuses Function on images \(batch, 3, 4, 2\)"),
        (
            lambda x: torch.linalg.inv(x @ x.mT),
            {},
            r"not known: aten.linalg_inv_ex.default in the network's own forward",
        ),
        (lambda x: nn.functional.dropout(x, 0.5, True), {}, r"drops values at random: put the module in evaluation"),
        (lambda x: nn.functional.batch_norm(x, None, None, training=True), {}, "statistics of the batch"),
        (lambda x: x, {"mean": (0.1, 0.2)}, "mean has 2 entries but the images have 3 channels"),
        (lambda x: x, {"std": (0.0,)}, "must be positive"),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_runs(result, options, message):
    with pytest.raises(InputError, match=message) as caught:
        models.from_torch(Function(result), (4, 2, 3), **options)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


class OfTwo(nn.Module):
    def forward(self, x, y):
        return x + y


class ByKeyword(nn.Module):
    def forward(self, *, x):
        return x


class OfText(nn.Module):
    def forward(self, input_ids=None, pixel_values=None):
        return input_ids


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ({}, r"module is a dict; give a torch.nn.Module\.$"),
        (nn.Linear(2, 2).state_dict(), "is an OrderedDict; give .*: these are weights; make the network"),
        (nn.ReLU, r"module is the class ReLU; give a torch.nn.Module: ReLU\(...\) makes one"),
        ("model.pt2", r"is a str; give .*: models.from_exported\('model.pt2'\) reads such a file"),
        ("model.pt", r"load_state_dict\(torch.load\('model.pt', weights_only=True\)\)"),
        (nn.functional.relu, "module is the function relu; give a torch.nn.Module whose forward calls it"),
        (OfTwo(), "the forward of OfTwo needs x, y: give a module whose forward takes images"),
        (ByKeyword(), "the forward of ByKeyword needs x, by keyword"),
        (OfText(), "the forward of OfText takes text first, as input_ids: give .* or its part for images"),
        (nn.Conv2d(3, 2, 3, device="meta"), "weight of Conv2d has no numbers yet: load the weights"),
        (nn.LazyConv2d(2, 3), "weight of LazyConv2d has no numbers yet: .* call a lazy module on a batch"),
    ],
)
def test_what_is_no_module_of_images_is_refused(module, message):
    with pytest.raises(InputError, match=message):
        models.from_torch(module, (4, 4, 3))


def test_an_unknown_operation_is_named_with_its_module_and_can_be_given():
    class Inverse(nn.Module):
        def forward(self, x):
            return torch.linalg.inv(x @ x.transpose(2, 3) + torch.eye(3))

    module = nn.Sequential(nn.Identity(), nn.Sequential(Inverse()))
    with pytest.raises(InputError, match=r"aten.linalg_inv_ex.default in module 1.0.*operations=\{'aten.linalg_inv_ex"):
        models.from_torch(module, (3, 3, 2))
    inverse = {"aten.linalg_inv_ex.default": lambda x, check_errors=False: (jnp.linalg.inv(x), None)}
    forward, variables = models.from_torch(module, (3, 3, 2), operations=inverse)
    images = side.pixels(2, 3, 2)
    # Maps come back with their channels last.
    assert side.difference(forward(variables, images)[0], side.results(module, images)[0].numpy()) < 1e-4


def test_a_known_operation_can_be_replaced():
    forward, variables = models.from_torch(nn.ReLU(), (2, 2, 3), operations={"aten.relu.default": jnp.negative})
    np.testing.assert_array_equal(forward(variables, side.pixels(1, 2))[0], -side.pixels(1, 2))


def test_images_of_another_size_and_other_variables_are_refused(resnet):
    _, forward, variables = resnet
    with pytest.raises(
        InputError, match=r"shape \(1, 8, 8, 3\), but the network was exported for \(batch, 16, 16, 3\)"
    ):
        forward(variables, side.pixels(1, 8))
    with pytest.raises(InputError, match="expected floats"):
        forward(variables, np.zeros((1, 16, 16, 3), np.uint8))
    other = {name: x for name, x in variables["params"].items() if name != "conv1.weight"} | {
        "conv9.weight": np.ones(2)
    }
    with pytest.raises(InputError, match=r"(?s)missing \(1\): conv1.weight.*unexpected \(1\): conv9.weight"):
        forward({**variables, "params": other}, side.pixels(1, 16))
    with pytest.raises(InputError, match="must be a dict of params and buffers"):
        forward(variables["params"], side.pixels(1, 16))
