"""Files of torch.export.save give the same network as the module, without PyTorch and without executing anything."""

import pickle
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import models
from cnnjax.errors import InputError
from tests.repeats import repeated

torch = pytest.importorskip("torch", reason="files of PyTorch are written by torch")
side = pytest.importorskip("tests.bridge.torch_side", reason="files of PyTorch are written by torch")
networks = pytest.importorskip("tests.bridge.torch_networks", reason="files of PyTorch are written by torch")
transformers = pytest.importorskip("tests.bridge.torch_transformers", reason="files of PyTorch are written by torch")

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
FAMILIES = {
    "ResNet": lambda: networks.ResNet(networks.Bottleneck),
    "ShuffleNet": networks.shufflenet,
    "Swin": transformers.Swin,
}


def save(path, module, size=32, functional=True):
    sizes = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(module, (torch.zeros(3, 3, size, size),), dynamic_shapes=sizes, strict=False)
    torch.export.save(program.run_decompositions({}) if functional else program, path)
    return path


@pytest.mark.parametrize("family", repeated(FAMILIES))
def test_a_file_gives_what_its_module_gives(family, tmp_path):
    module, images = side.drawn(FAMILIES[family]), side.pixels(2)
    forward, variables = models.from_exported(save(tmp_path / "model.pt2", module))
    logits, activations = forward(variables, images)
    expected, by_path = side.results(module, images)
    assert side.difference(logits, expected.numpy()) < 1e-5
    assert set(activations) <= set(by_path)
    assert max(side.difference(a, by_path[name]) for name, a in activations.items()) < 1e-5
    assert set(variables["params"]) == {name for name, _ in module.named_parameters()}


def test_outputs_by_name_are_those_of_the_file(tmp_path):
    class Both(torch.nn.Module):
        def forward(self, x):
            return {"hidden": x, "logits": 2 * x}

    path = save(tmp_path / "model.pt2", Both(), size=4)
    images = side.pixels(1, 4)
    forward, variables = models.from_exported(path, mean=(0.5,), std=(0.5,))
    np.testing.assert_allclose(forward(variables, images)[0], 2 * (images - 0.5) / 0.5, atol=1e-6)
    forward, variables = models.from_exported(path, output="hidden")
    np.testing.assert_array_equal(forward(variables, images)[0], images)


def rewritten(path, to, change):
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(to, "w") as copy:
        for name in source.namelist():
            copy.writestr(name, change(name, source.read(name)))
    return to


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def test_pickles_in_a_file_are_refused_and_never_opened(tmp_path):
    path, trap = save(tmp_path / "model.pt2", networks.conv_bn(3, 4).eval(), size=8), pickle.dumps(Trap())
    inputs = rewritten(path, tmp_path / "inputs.pt2", lambda name, data: trap if "sample_inputs" in name else data)
    forward, variables = models.from_exported(inputs)
    assert forward(variables, side.pixels(1, 8))[0].shape == (1, 8, 8, 4)

    def pickled(name, data):
        return data.replace(b'"use_pickle": false', b'"use_pickle": true') if "weights_config" in name else data

    def pickled_or_trap(name, data):
        return trap if name.endswith("weight_0") else pickled(name, data)

    with pytest.raises(InputError, match="is pickled, or no array of numbers; it is not opened"):
        models.from_exported(rewritten(path, tmp_path / "weights.pt2", pickled_or_trap))
    cut = rewritten(path, tmp_path / "cut.pt2", lambda name, data: data[:8] if "/weight_" in name else data)
    with pytest.raises(InputError, match=r"weight in .* is damaged"):
        models.from_exported(cut)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        models.from_exported(tmp_path / "none.pt2")
    text = tmp_path / "text.pt2"
    text.write_text("text")
    with pytest.raises(InputError, match=r"is not a file of one program, as torch\.export\.save writes it"):
        models.from_exported(text)
    torch.save(torch.nn.Linear(2, 2).state_dict(), text)
    with pytest.raises(InputError, match=r"is pickled, by torch.save .* not opened.*torch.load\(.*weights_only=True"):
        models.from_exported(text)
    text.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError, match="is pickled"):
        models.from_exported(text)
    in_place = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.ReLU(inplace=True))
    with pytest.raises(InputError, match=r"in place: save program.run_decompositions\(\{\}\)"):
        models.from_exported(save(tmp_path / "place.pt2", in_place, size=8, functional=False))
    path = save(tmp_path / "model.pt2", in_place, size=8)
    newer = rewritten(path, tmp_path / "newer.pt2", lambda _, data: data.replace(b'"major": 8', b'"major": 9'))
    with pytest.raises(InputError, match=r"in schema 9; schema 8 is read"):
        models.from_exported(newer)
    forward, variables = models.from_exported(path)
    with pytest.raises(InputError, match=r"exported for \(batch, 8, 8, 3\)"):
        forward(variables, jnp.zeros((1, 9, 9, 3)))
