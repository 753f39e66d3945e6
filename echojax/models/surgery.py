"""The papers' changes of a network between two trainings: new heads on pretrained weights, a teacher that also sees the
mask, a student made from the teacher.

All work on the flat dictionaries of `echojax.models.functional`.
"""

from typing import Literal

import jax.numpy as jnp
import numpy as np

from echojax.models.functional import Arrays
from echojax.models.layers import uniform

RGB = 3


def widen_stem(params: Arrays, rng: np.random.Generator, init: Literal["uniform", "zero"] = "uniform") -> Arrays:
    """Parameters of the four-channel video network (RGB and mask) from those of the three-channel one.

    The kernel of the fourth channel is drawn from U(-1, 1) as in the paper (an order of magnitude above pretrained
    kernels, so that the mask dominates the stem at first), or is zero, which leaves the network's function unchanged.
    """
    name = _stem_kernel(params)
    kernel = jnp.asarray(params[name])
    if kernel.shape[-2] != RGB:
        raise ValueError(f"widen_stem expects a network of {RGB} input channels; {name} has {kernel.shape[-2]}")
    shape = (*kernel.shape[:-2], 1, kernel.shape[-1])
    mask = uniform(rng, shape, bound=1) if init == "uniform" else np.zeros(shape, np.float32)
    return params | {name: jnp.concatenate([kernel, mask], axis=-2)}


def student_from_teacher(params: Arrays, stats: Arrays) -> tuple[Arrays, Arrays]:
    """The three-channel student of a four-channel teacher: a copy, running statistics too, less the mask's kernel.

    On clips whose mask channel is zero, teacher and student agree.
    """
    name = _stem_kernel(params)
    student = {key: jnp.array(value) for key, value in params.items()}
    return student | {name: student[name][..., :RGB, :]}, {key: jnp.array(value) for key, value in stats.items()}


def new_head(pretrained: Arrays, fresh: Arrays, head: str) -> Arrays:
    """Pretrained parameters with the module `head` ("fc", "out") of a freshly drawn network in place of their own."""
    own = {name: value for name, value in pretrained.items() if not name.startswith(f"{head}.")}
    return own | {name: value for name, value in fresh.items() if name.startswith(f"{head}.")}


def with_backbone(fresh: Arrays, backbone: Arrays) -> Arrays:
    """A freshly drawn DeepLabV3's arrays (parameters or statistics) with a pretrained ResNet-50 as its backbone."""
    return fresh | {f"backbone.{name}": value for name, value in backbone.items()}


def _stem_kernel(params: Arrays) -> str:
    names = [name for name in ("stem.spatial.conv.kernel", "stem.conv.kernel") if name in params]
    if not names:
        raise ValueError("the parameters are not those of a video network: there is no stem")
    return names[0]
