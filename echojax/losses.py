"""Every loss of the papers, one function each, under the paper's name for it.

| function | symbol | paper | unit of the result |
|---|---|---|---|
| `segmentation_loss` | L_seg | CSS, labelled part of stage 1; EchoNet-Dynamic | nats, summed over an image |
| `cyclic_loss` | L_css | CSS, unlabelled part of stage 1 | nats; ln 11 is chance |
| `squared_error` | L_m, L_lb | CSS, teacher of stage 2, labelled part of stage 3 | squared percent of EF |
| `unlabelled_loss` | L_ulb | CSS, unlabelled part of stage 3 | squared percent of EF, halved |
| `distillation_loss` | L_dst | CSS, stage 3 | squared percent of EF |
| `binary_cross_entropy` | BCE | EchoDFKD, soft or hard targets | nats per pixel |
| `soft_dice_loss` | 1 - Dice | the improved student, beside BCE | 0 to 1 per frame |

Losses of single examples come back unreduced, and the stage that calls them reduces them in one place. All arithmetic
is float32 or wider, whatever precision the network runs in.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from echojax.errors import UserError
from echojax.ops.precision import at_least_float32


def binary_cross_entropy(
    logits: Float[Array, "*shape"], targets: Float[Array, "*shape"] | Bool[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Binary cross-entropy of logits z against targets y in [0, 1]: -y ln sigmoid(z) - (1 - y) ln sigmoid(-z).

    Elementwise, in nats. Exact for logits of any magnitude, and so is its gradient, sigmoid(z) - y.
    """
    z = at_least_float32(logits)
    y = targets.astype(z.dtype)
    return -y * jax.nn.log_sigmoid(z) - (1 - y) * jax.nn.log_sigmoid(-z)


def soft_dice_loss(
    logits: Float[Array, "*b h w"], targets: Float[Array, "*b h w"] | Bool[Array, "*b h w"], smoothing_px: float = 1.0
) -> Float[Array, "*b"]:
    """1 - (2 sum p y + s) / (sum p + sum y + s) with p = sigmoid(z), over the pixels of each frame.

    Dice with probabilities in place of masks (Sudre et al., DLMIA 2017, two classes). Unlike cross-entropy it weighs
    a small ventricle as much as a large one. `smoothing_px` is s: it makes two empty masks a loss of 0. Soft targets
    y have their minimum where p is 1 for y > 1/2, not where p = y: it belongs beside a cross-entropy.
    """
    probabilities = jax.nn.sigmoid(at_least_float32(logits))
    y = targets.astype(probabilities.dtype)
    common = jnp.sum(probabilities * y, axis=(-2, -1))
    total = jnp.sum(probabilities, axis=(-2, -1)) + jnp.sum(y, axis=(-2, -1))
    return 1 - (2 * common + smoothing_px) / (total + smoothing_px)


def segmentation_loss(
    logits: Float[Array, "b h w"], masks: Float[Array, "b h w"] | Bool[Array, "b h w"]
) -> Float[Array, "b"]:
    """Binary cross-entropy summed over the pixels of each image (CSS, L_seg).

    The original's loss of a batch is the sum over its images, averaged over the ED and the ES batch; the learning rate
    1e-5 belongs to that sum.

    Args:
      logits: one per pixel, before the sigmoid.
      masks: the left ventricle; bool, or soft in [0, 1].
    """
    return jnp.sum(binary_cross_entropy(logits, masks), axis=(1, 2))


def cyclic_loss(
    features: Float[Array, "t d"],
    start: int | Int[Array, ""],
    template: int = 15,
    chunk: int = 3,
    offset: int = 2,
    temperature: float = 10.0,
) -> Float[Array, ""]:
    """Cyclic self-supervision of one clip (CSS, L_css): go one step on in another beat, come back, and say from where.

    The first `template` frames hold the phases that are asked for, the remaining K frames u are searched. With e_t the
    feature of frame t, s the start, c the chunk, o the offset and D features:

        d_k = sum_j |u_{k+j} - e_{s+j}|^2,    a = softmax_k(-temperature d_k / (D c))    match the phase
        n_j = sum_k a_k u_{k+o+j}                                                        step on by o frames
        l_r = -temperature / (D c) sum_j |e_{o+r+j} - n_j|^2                             match it back
        loss = -log softmax(l)_s

    with j = 0..c-1, k = 0..K-c-o and r = 0..template-c-o. `temperature` multiplies, as in the original. Gradients flow
    through every term. Distances are taken as sums of squared differences: |a|^2 + |b|^2 - 2ab would lose the digits
    that matter, because features summed over a feature map are large.

    Args:
      features: one vector per frame: the backbone's output summed over space, in the order of time.
      start: s, in 0..template-chunk-offset; may be traced.
      template: length of the template region, in frames.
      chunk: length c of a phase, in frames.
      offset: forward step o, in frames.
      temperature: multiplier of the similarities.

    Returns:
      Scalar in nats; ln(template - chunk - offset + 1) when the features say nothing.

    Raises:
      UserError: when the template or the search region is shorter than chunk + offset.
    """
    e = at_least_float32(features)
    num_frames, num_features = e.shape
    if chunk + offset > min(template, num_frames - template):
        raise UserError(
            f"cyclic loss: a clip of {num_frames} frames with template={template} leaves {num_frames - template} frames"
            f" to search; template and search region need at least chunk + offset = {chunk + offset} frames each"
        )
    scale = temperature / (num_features * chunk)
    region, search = e[:template], e[template:]

    phase = lax.dynamic_slice_in_dim(region, start, chunk)
    match = jax.nn.softmax(-scale * _distances(_windows(search[: len(search) - offset], chunk), phase))
    # A product and a sum, not a matrix product: accelerators would round the factors of the latter.
    shifted = jnp.sum(match[:, None, None] * _windows(search[offset:], chunk), axis=0)
    logits = -scale * _distances(_windows(region[offset:], chunk), shifted)
    return -jax.nn.log_softmax(logits)[start]


def squared_error(prediction: Float[Array, "b"], target: Float[Array, "b"]) -> Float[Array, "b"]:
    """Squared error of each example (CSS, L_m of the teacher and L_lb of the student); EF in percent."""
    return jnp.square(at_least_float32(prediction) - at_least_float32(target))


def unlabelled_loss(student: Float[Array, "b"], teacher: Float[Array, "b"]) -> Float[Array, "b"]:
    """Half the squared error of the student against the teacher, which learns nothing from it (CSS, L_ulb).

    The half is the original's: with its weight w_unlb = 5 the squared error counts 2.5 times.
    """
    return 0.5 * squared_error(student, lax.stop_gradient(teacher))


def distillation_loss(
    labelled: Float[Array, "b"], unlabelled: Float[Array, "u"], unlabelled_loss_weight: float
) -> Float[Array, ""]:
    """L_dst = mean(L_lb) + w_unlb mean(L_ulb) (CSS, stage 3).

    Args:
      labelled: `squared_error` of the student on the labelled clips.
      unlabelled: `unlabelled_loss` on the unlabelled clips.
      unlabelled_loss_weight: w_unlb; 5 in the published run.
    """
    return jnp.mean(labelled) + unlabelled_loss_weight * jnp.mean(unlabelled)


def _windows(x: Float[Array, "n d"], length: int) -> Float[Array, "k length d"]:
    """All runs of `length` consecutive rows; slices rather than a gather, whose gradient would be a scatter."""
    count = len(x) - length + 1
    return jnp.stack([x[j : j + count] for j in range(length)], axis=1)


def _distances(windows: Float[Array, "k length d"], window: Float[Array, "length d"]) -> Float[Array, "k"]:
    return jnp.sum(jnp.square(windows - window[None]), axis=(1, 2))
