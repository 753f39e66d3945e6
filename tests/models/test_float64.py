"""A float64 network computes in float64 throughout, so that it can be compared with others to the last digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from echojax.models import functional
from echojax.models.deeplab import DeepLabV3
from echojax.models.video_resnet import VideoResNet

SMALL = dict(width=8, blocks=(1, 1, 1, 1))
NETWORKS = {
    "deeplab": (DeepLabV3, (4, 24, 24, 3), {}),
    "r2plus1d_18": (VideoResNet, (4, 4, 16, 16, 3), {"variant": "r2plus1d_18"}),
    "r3d_18": (VideoResNet, (4, 4, 16, 16, 3), {"variant": "r3d_18"}),
}


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_is_rounded_to_float32(name, train):
    network, shape, options = NETWORKS[name]

    def build():
        return network(**SMALL, **options, dtype=jnp.float64, rng=np.random.default_rng(0))

    def loss(params, stats, x, key):
        groups = (2, 2) if train else None
        outputs, stats = functional.apply(definition, params, stats, x, train=train, groups=groups, key=key)
        return sum(jnp.sum(output) for output in outputs.values()), stats

    with jax.enable_x64(True):
        definition, *arrays = functional.abstract(build)
        params, stats = (
            {key: jax.ShapeDtypeStruct(array.shape, jnp.float64) for key, array in part.items()} for part in arrays
        )
        x = jax.ShapeDtypeStruct(shape, jnp.float64)
        gradient = jax.value_and_grad(loss, has_aux=True)
        program = str(jax.make_jaxpr(gradient)(params, stats, x, jax.random.key(0)))
    assert "f64[" in program
    assert "f32[" not in program
