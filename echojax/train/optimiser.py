"""The papers' optimiser: SGD with momentum, decay coupled to the gradient, a rate that falls in steps."""

import optax


def step_decay(learning_rate: float, decay_steps: int, decay_factor: float) -> optax.Schedule:
    """Rate at a step: `learning_rate * decay_factor ** (step // decay_steps)`; constant if decay_steps is 0.

    With decay_steps = 15 epochs and factor 0.1, epochs 0 to 14 train at 1e-4 and epochs 15 to 24 at 1e-5.
    """
    if not decay_steps:
        return optax.constant_schedule(learning_rate)
    return optax.exponential_decay(learning_rate, decay_steps, decay_factor, staircase=True)


def make_optimiser(
    learning_rate: float | optax.Schedule, momentum: float, weight_decay: float
) -> optax.GradientTransformation:
    """PyTorch's SGD: v <- momentum v + (g + weight_decay w), w <- w - learning_rate v, for every parameter."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.trace(decay=momentum),
        optax.scale_by_learning_rate(learning_rate),
    )
