"""Networks of timm by name, narrow images and random weights, where timm is installed."""

import jax
import pytest

from cnnjax import models

torch = pytest.importorskip("torch", reason="networks of PyTorch need torch")
timm = pytest.importorskip("timm", reason="these networks are those of timm", exc_type=ImportError)
side = pytest.importorskip("tests.bridge.torch_side", reason="networks of PyTorch need torch")

SIDE = 64
NAMES = (
    *("resnet18", "resnetv2_50", "vgg11_bn", "densenet121", "mobilenetv2_100", "mobilenetv3_small_100"),
    *("efficientnet_b0", "regnetx_002", "regnety_002", "convnext_atto", "convnextv2_atto", "repvgg_a0", "seresnet18"),
)
OF_A_SIZE = ("vit_tiny_patch16_224", "deit3_small_patch16_224", "swin_tiny_patch4_window7_224", "beit_base_patch16_224")
"""Networks that are made for images of one size."""


@pytest.mark.parametrize("name", [*NAMES, *OF_A_SIZE])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_network_of_timm_gives_its_logits(name):
    size = {"img_size": SIDE} if name in OF_A_SIZE else {}
    module = side.drawn(lambda: timm.create_model(name, num_classes=5, **size))
    images = side.pixels(2, size=SIDE)
    forward, variables = models.from_torch(module, (SIDE, SIDE, 3))
    logits, _ = jax.jit(forward)(variables, images)
    expected, _ = side.results(module, images)
    assert side.difference(logits, expected.numpy()) < 1e-5
