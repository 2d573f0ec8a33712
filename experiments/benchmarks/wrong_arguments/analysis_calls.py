"""Small valid calls of the analyses."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnnjax import analysis, ops
from cnnjax.program import reach
from experiments.benchmarks.wrong_arguments.matrix import Arguments


def _draw(*shape: int, seed: int = 0) -> Any:
    return jnp.asarray(np.random.default_rng(seed).uniform(size=shape), jnp.float32)


IMAGES, KERNEL, DENSE = _draw(2, 6, 6, 1), _draw(3, 3, 1, 2, seed=1) - 0.5, _draw(2, 2, seed=2) - 0.5
MAPS = _draw(2, 6, 6)
LABELS = np.array([0, 1])
PARAMS = {"conv": {"kernel": KERNEL}, "dense": {"kernel": DENSE}}


def _apply(params: Mapping[str, Any], images: jax.Array) -> Any:
    maps = jax.nn.relu(ops.conv(images, params["conv"]["kernel"]))
    logits = maps.mean((1, 2)) @ params["dense"]["kernel"]
    return logits, {"maps": maps, "logits": logits}


def _classify(images: jax.Array) -> Any:
    return NETWORK(images)[0]


def _loss(params: Mapping[str, Any], batch: jax.Array) -> Any:
    logits, activations = _apply(params, batch)
    return (logits**2).mean(), activations


def _explain(f: Any, images: Any) -> Any:
    return analysis.saliency(f, images, "1/logits", 0).maps


NETWORK = jax.tree_util.Partial(_apply, PARAMS)
ORBIT = analysis.shifts(1)
SHIFT = analysis.Shift((0, 1), fill="circular")


def _on_network(**others: Any) -> Arguments:
    return lambda: dict(f=NETWORK, images=IMAGES, **others)


def _on_logits(**others: Any) -> Arguments:
    return lambda: dict(classify=_classify, **others)


def _predictions() -> Any:
    return analysis.predict(_classify, np.asarray(IMAGES), ORBIT)


def _means() -> dict[str, Any]:
    return {n: c.mean() for n, c in analysis.image_columns(_predictions(), LABELS, ORBIT).items()}


CALLS: dict[str, Arguments] = {
    "analysis.check_shift_terms": lambda: dict(f=lambda x: ops.conv(x, KERNEL), images=IMAGES, shift=SHIFT),
    "analysis.by_name": lambda: dict(result=analysis.receptive_field(NETWORK, IMAGES)),
    "analysis.cka": lambda: dict(x=_draw(4, 3), y=_draw(4, 2)),
    "analysis.cka_matrix": lambda: dict(first=[_draw(4, 3), _draw(4, 2)]),
    "analysis.class_selectivity": lambda: dict(activations=MAPS, labels=LABELS),
    "analysis.classify_all": lambda: dict(classify=_classify, images=np.asarray(IMAGES)),
    "analysis.confidence_curve": _on_network(labels=LABELS, transforms=[SHIFT], logits="1/logits"),
    "analysis.consistency": _on_logits(images=np.asarray(IMAGES), orbit=ORBIT, labels=LABELS),
    "analysis.correspondence": _on_network(covered=IMAGES.at[:, 2:4].set(0.5)),
    "analysis.cost": lambda: dict(f=_apply, images=IMAGES, params=PARAMS),
    "analysis.cover": lambda: dict(images=IMAGES, corners=jnp.array([[0, 0], [1, 1]]), size=2, background=jnp.zeros(1)),
    "analysis.deletion": _on_network(importance=MAPS, labels=LABELS, logits="1/logits", steps=2),
    "analysis.effective_receptive_field": _on_network(layer="maps"),
    "analysis.assert_equivariant": lambda: dict(f=lambda x: x, images=IMAGES, transform=SHIFT, tolerance=0.1),
    "analysis.equivariance_error": _on_network(transform=SHIFT),
    "analysis.filter_chroma": lambda: dict(kernel=_draw(3, 3, 3, 2)),
    "analysis.filter_orientation": lambda: dict(kernel=_draw(3, 3, 3, 2)),
    "analysis.filter_rms": lambda: dict(kernel=_draw(3, 3, 3, 2)),
    "analysis.fitted_map_error": _on_network(transform=SHIFT),
    "analysis.flip_rate": _on_logits(images=np.asarray(IMAGES), orbit=ORBIT),
    "analysis.goodfellow_invariance": _on_network(orbit=ORBIT, firing_rate=0.5),
    "analysis.grad_cam": _on_network(layer="maps", unit=0, output="1/logits"),
    "analysis.gradient_flow": lambda: dict(loss=_loss, params=PARAMS, batch=IMAGES),
    "analysis.image_columns": lambda: dict(predictions=_predictions(), labels=LABELS, orbit=ORBIT),
    "analysis.influence": _on_network(layer="maps", probes=1),
    "analysis.insertion": _on_network(importance=MAPS, labels=LABELS, logits="1/logits", steps=2),
    "analysis.integrated_gradients": _on_network(layer="1/logits", unit=0, steps=2),
    "analysis.intervene": lambda: dict(f=NETWORK, edit=lambda name, value: value),
    "analysis.invariance_curve": _on_network(transforms=[SHIFT]),
    "analysis.is_linear": _on_network(),
    "analysis.lie_attribution": _on_network(generator="translation_x", layer="1/logits"),
    "analysis.lie_derivative": _on_network(generator="translation_x"),
    "analysis.lie_terms": _on_network(generator="translation_x", margin=1),
    "analysis.linearity_error": _on_network(),
    "analysis.local_equivariance_error": _on_network(generator="translation_x"),
    "analysis.normalized_variance": _on_network(orbit=ORBIT),
    "analysis.occlusion": lambda: dict(f=NETWORK, image=IMAGES[0], layer="maps", logits="1/logits", size=3, stride=3),
    "analysis.pointing_game": lambda: dict(importance=np.asarray(MAPS), truth=np.asarray(MAPS) > 0.5),
    "analysis.predict": _on_logits(examples=np.asarray(IMAGES), orbit=ORBIT),
    "analysis.project": lambda: dict(f=NETWORK, image=IMAGES[0], layer="maps", unit=0),
    "analysis.orbit_of": lambda: dict(transforms=[SHIFT, lambda x: x[:, ::-1]]),
    "analysis.quarter_turns": lambda: dict(orbit=analysis.rotations(90)),
    "analysis.receptive_field": _on_network(),
    "analysis.rectifiers": lambda: dict(f=lambda: NETWORK(IMAGES)),
    "analysis.rotations": lambda: dict(step=90),
    "analysis.saliency": _on_network(layer="1/logits", unit=0),
    "analysis.scores": lambda: dict(means=_means()),
    "analysis.shift_terms": lambda: dict(f=lambda x: ops.conv(x, KERNEL), images=IMAGES, shift=SHIFT),
    "analysis.shifts": lambda: dict(max_shift=1),
    "analysis.smooth_grad": _on_network(layer="1/logits", unit=0, key=jax.random.key(0), samples=2),
    "analysis.strength": lambda: dict(maps=IMAGES),
    "analysis.subpixel_shifts": lambda: dict(parts=2),
    "analysis.table": lambda: dict(f=_apply, images=IMAGES, params=PARAMS),
    "analysis.token_maps": lambda: dict(f=NETWORK),
    "analysis.top_activations": _on_network(layer="maps", k=1),
    "analysis.translation_sensitivity_map": _on_network(max_shift=1),
    "analysis.with_pool_rule": lambda: dict(f=NETWORK, overlap="max"),
    "analysis.with_relu_rule": lambda: dict(f=NETWORK, rule="guided"),
    "analysis.Flip": lambda: dict(axis="width"),
    "analysis.Generator": lambda: dict(name="translation_x"),
    "analysis.Projector": lambda: dict(f=NETWORK, layer="maps"),
    "analysis.Rotation": lambda: dict(degrees=90),
    "analysis.OwnTransform": lambda: dict(images=lambda x: x[:, ::-1], maps=lambda x, stride: x[:, ::-1]),
    "analysis.Scale": lambda: dict(factor=2),
    "analysis.Shift": lambda: dict(offset=(0, 1)),
    "analysis.sanity.image_recovery": _on_network(explain=_explain),
    "analysis.sanity.cascading_randomization": lambda: dict(
        apply=_apply, params=PARAMS, fresh=jax.tree.map(lambda p: -p, PARAMS), images=IMAGES, explain=_explain
    ),
    "program.reach.follow": lambda: dict(
        program=jax.make_jaxpr(jnp.sin)(IMAGES), args=[reach.Value.images(IMAGES.shape, IMAGES.dtype)]
    ),
    "program.reach.nothing": lambda: dict(positions=3),
    "program.reach.summarize": lambda: dict(reaches=[]),
}
