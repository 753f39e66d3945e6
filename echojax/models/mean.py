"""Several segmentation networks as one: the mean of their logits."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from echojax.models.layers import Groups


class MeanNetwork(nnx.Module):
    """The mean of the logits of networks that were trained apart, each on pictures normalised in its own way.

    What is passed in is normalised for the first; `scales` and `offsets`, a number per channel for each network, take
    it from there to what that network knows. Networks of different training err in different places, and where one has
    lost the ventricle the others hold it.
    """

    def __init__(
        self, members: Sequence[nnx.Module], scales: Sequence[Sequence[float]], offsets: Sequence[Sequence[float]]
    ):
        self.members = nnx.List(members)
        # Tuples: part of the structure, which is hashed, and not weights.
        self.scales, self.offsets = (tuple(map(tuple, numbers)) for numbers in (scales, offsets))

    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool, groups: Groups | None = None, key: Array | None = None
    ) -> dict[str, Array]:
        """Logits (b, h, w).

        Raises:
          ValueError: in train mode: its networks are trained apart.
        """
        if train:
            raise ValueError("a mean of networks is not trained; train its networks apart")
        logits = [
            member(x * jnp.asarray(scale, x.dtype) + jnp.asarray(offset, x.dtype), train=False)["logits"]
            for member, scale, offset in zip(self.members, self.scales, self.offsets, strict=True)
        ]
        return {"logits": sum(logits) / len(logits)}
