"""What networks share that learn the masks of every frame of clips: their loss, and validation on clips."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from echojax import losses
from echojax.data import padded_blocks, stack
from echojax.evaluate import pooled_dice_from_counts
from echojax.stages import common
from echojax.student_clips import StudentClips
from echojax.train.mesh import compiler_options, make_mesh, put_batch, round_up

# (params, stats, batch of `StudentClips`) -> logits and target probabilities, (b, t, h, w) each.
Predict = Callable[..., tuple[Array, Array]]


def frame_losses(logits: Float[Array, "b t h w"], targets: Float[Array, "b t h w"]) -> dict[str, Float[Array, "b t"]]:
    """`bce`, mean over the pixels of each frame, and `dice_loss`, of each frame."""
    bce = jnp.mean(losses.binary_cross_entropy(logits, targets), axis=(2, 3))
    return {"bce": bce, "dice_loss": losses.soft_dice_loss(logits, targets)}


def total_loss(parts: dict, dice_weight: float):
    """BCE plus dice_weight (1 - Dice), of the means of `frame_losses`."""
    return parts["bce"] + dice_weight * parts["dice_loss"]


def make_validation(predict: Predict, source: StudentClips, dice_weight: float, batch_size: int) -> common.Validate:
    """Validation on one clip per video: `loss` as in training, its parts, and `dice` against the target, pooled.

    `dice` takes both as masks: logits above 0, targets of 1/2 and more.
    """

    @partial(jax.jit, compiler_options=compiler_options())
    def measure(params, stats, batch):
        logits, targets = predict(params, stats, batch)
        predicted, wanted = logits > 0, targets >= 0.5
        areas = {"intersection": predicted & wanted, "predicted": predicted, "wanted": wanted}
        counts = {name: jnp.sum(mask, axis=(1, 2, 3)) for name, mask in areas.items()}
        return counts | {name: jnp.mean(loss, 1) for name, loss in frame_losses(logits, targets).items()}

    mesh = make_mesh()

    def validate(params, stats) -> dict[str, float]:
        measured = []
        for block, num_real in padded_blocks(range(len(source)), round_up(batch_size, mesh)):
            batch = stack([source.example(item, np.random.default_rng(0)) for item in block])
            per_clip = measure(params, stats, put_batch(mesh, batch))
            measured.append({name: np.asarray(values)[:num_real] for name, values in per_clip.items()})
        per_clip = {name: np.concatenate([block[name] for block in measured]) for name in measured[0]}
        parts = {name: float(np.mean(per_clip[name], dtype=np.float64)) for name in ("bce", "dice_loss")}
        dice = pooled_dice_from_counts(per_clip["intersection"], per_clip["predicted"] + per_clip["wanted"])
        return {"loss": total_loss(parts, dice_weight), **parts, "dice": float(dice)}

    return validate
