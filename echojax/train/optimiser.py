"""The optimisers: the papers' SGD with a rate that falls in steps, and Adam for training from random weights."""

import optax

from echojax.errors import UserError


def step_decay(learning_rate: float, decay_steps: int, decay_factor: float) -> optax.Schedule:
    """Rate at a step: `learning_rate * decay_factor ** (step // decay_steps)`; constant if decay_steps is 0.

    With decay_steps = 15 epochs and factor 0.1, epochs 0 to 14 train at 1e-4 and epochs 15 to 24 at 1e-5.
    """
    if not decay_steps:
        return optax.constant_schedule(learning_rate)
    return optax.exponential_decay(learning_rate, decay_steps, decay_factor, staircase=True)


def make_schedule(settings, num_steps: int, steps_per_epoch: int) -> optax.Schedule:
    """The rate that a config's `optimiser` asks for: "step" (see `step_decay`) or "cosine" to zero at the last step."""
    if settings.schedule == "step":
        return step_decay(settings.learning_rate, settings.decay_epochs * steps_per_epoch, settings.decay_factor)
    if settings.schedule == "cosine":
        return optax.cosine_decay_schedule(settings.learning_rate, max(num_steps, 1))
    raise UserError(f"optimiser.schedule is {settings.schedule!r}, expected 'step' or 'cosine'")


def make_optimiser(
    learning_rate: float | optax.Schedule, momentum: float, weight_decay: float, name: str = "sgd"
) -> optax.GradientTransformation:
    """PyTorch's optimisers, weight decay added to the gradient g of every parameter w.

    "sgd": v <- momentum v + (g + weight_decay w), w <- w - learning_rate v. "adam": betas momentum and 0.999, eps 1e-8.
    """
    if name == "sgd":
        direction = optax.trace(decay=momentum)
    elif name == "adam":
        direction = optax.scale_by_adam(b1=momentum, b2=0.999, eps=1e-8)
    else:
        raise UserError(f"optimiser.name is {name!r}, expected 'sgd' or 'adam'")
    return optax.chain(optax.add_decayed_weights(weight_decay), direction, optax.scale_by_learning_rate(learning_rate))
