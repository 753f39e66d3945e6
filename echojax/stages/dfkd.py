"""EchoDFKD, step 2: a recurrent student learns from a teacher's masks of every frame; no label is looked at."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from echojax import clips, losses
from echojax.data import Batches, Stream, padded_blocks, stack, usual_size
from echojax.errors import UserError
from echojax.evaluate import pooled_dice_from_counts
from echojax.models import functional
from echojax.networks import Network, build_network, describe_student, load_network
from echojax.preprocessing import Preprocessing
from echojax.records import open_masks, open_videos
from echojax.stages import common
from echojax.student_clips import StudentClips
from echojax.train.loop import Stage
from echojax.train.mesh import compiler_options, make_mesh, put_batch
from echojax.train.step import LossFunction

KIND = "segmentation"
TARGETS_MADE_BY = "python main.py --config=configs/dfkd_targets.py"


def build(config) -> Stage:
    """The ConvLSTM student on random clips of TRAIN; the best on fixed clips of VAL is kept."""
    dfkd = config.dfkd
    videos = open_videos(config.data_dir)
    masks = open_masks(config.masks_dir, TARGETS_MADE_BY)
    recipe = clips.student_recipe(dfkd.recipe)
    min_frames = config.clip.num_frames * min(dfkd.periods)
    cohorts = {
        split: common.unlabelled_cohort(videos, videos.select(split), config.labels, min_frames - 1, masks)
        for split in ("TRAIN", "VAL")
    }
    if not len(cohorts["VAL"]):
        raise UserError(f"no VAL video is left to choose the best student by: {cohorts['VAL'].describe()}")

    def source(split: str, sampling: str) -> StudentClips:
        positions = cohorts[split].positions
        return StudentClips(videos, positions, masks, config.clip.num_frames, tuple(dfkd.periods), sampling)

    network = _initial_network(config)

    return Stage(
        name="dfkd",
        network=network,
        preprocessing=Preprocessing((0.0,), (1.0,), usual_size(videos), 0, 1, 1, "raw grey levels"),
        batches=Batches({"clips": Stream(source("TRAIN", "uniform"), config.train.batch_size)}, config.seed),
        loss=make_loss(network, recipe, dfkd.dice_weight),
        validate=make_validation(
            network, source("VAL", "centre"), recipe, dfkd.dice_weight, config.validation.batch_size
        ),
        criterion="loss",
        notes=(
            *(f"{split}: {cohort.describe()}" for split, cohort in cohorts.items()),
            f"targets: {'; '.join(f'{split}: {made_by}' for split, made_by in masks.producer.items())}",
        ),
    )


def make_loss(network: Network, recipe: clips.StudentRecipe, dice_weight: float) -> LossFunction:
    """The student's loss on a batch of `StudentClips`: BCE, mean of all pixels, plus dice_weight (1 - Dice)."""

    def loss(params, stats, constants, batch, step, key):
        del constants, step, key
        x, targets = clips.prepare_student(batch["clips"]["clip"], batch["clips"]["target"], recipe)
        outputs, stats = functional.apply(network.definition, params, stats, x, train=True)
        parts = jax.tree.map(jnp.mean, frame_losses(outputs["logits"], targets))
        return _total(parts, dice_weight), (stats, parts)

    return loss


def frame_losses(logits: Float[Array, "b t h w"], targets: Float[Array, "b t h w"]) -> dict[str, Float[Array, "b t"]]:
    """`bce`, mean over the pixels of each frame, and `dice_loss`, of each frame."""
    bce = jnp.mean(losses.binary_cross_entropy(logits, targets), axis=(2, 3))
    return {"bce": bce, "dice_loss": losses.soft_dice_loss(logits, targets)}


def make_validation(
    network: Network, source: StudentClips, recipe: clips.StudentRecipe, dice_weight: float, batch_size: int
) -> common.Validate:
    """Validation on one clip per video: `loss` as in training, its parts, and `dice` against the target, pooled.

    `dice` takes both as masks: logits above 0, targets of 1/2 and more.
    """

    @partial(jax.jit, compiler_options=compiler_options())
    def measure(params, stats, batch):
        x, targets = clips.prepare_student(batch["clip"], batch["target"], recipe)
        outputs, _ = functional.apply(network.definition, params, stats, x, train=False)
        predicted, wanted = outputs["logits"] > 0, targets >= 0.5
        areas = {"intersection": predicted & wanted, "predicted": predicted, "wanted": wanted}
        counts = {name: jnp.sum(mask, axis=(1, 2, 3)) for name, mask in areas.items()}
        return counts | {name: jnp.mean(loss, 1) for name, loss in frame_losses(outputs["logits"], targets).items()}

    mesh = make_mesh()

    def validate(params, stats) -> dict[str, float]:
        measured = []
        for block, num_real in padded_blocks(range(len(source)), -(-batch_size // mesh.size) * mesh.size):
            batch = stack([source.example(item, np.random.default_rng(0)) for item in block])
            per_clip = measure(params, stats, put_batch(mesh, batch))
            measured.append({name: np.asarray(values)[:num_real] for name, values in per_clip.items()})
        per_clip = {name: np.concatenate([block[name] for block in measured]) for name in measured[0]}
        parts = {name: float(np.mean(per_clip[name], dtype=np.float64)) for name in ("bce", "dice_loss")}
        dice = pooled_dice_from_counts(per_clip["intersection"], per_clip["predicted"] + per_clip["wanted"])
        return {"loss": _total(parts, dice_weight), **parts, "dice": float(dice)}

    return validate


def _total(parts: dict, dice_weight: float):
    return parts["bce"] + dice_weight * parts["dice_loss"]


def _initial_network(config) -> Network:
    """Random weights, as the paper, or those of another student of the same size."""
    description = describe_student(config.dfkd, config.network.dtype)
    if config.init_from == "random":
        return build_network(description, config.seed)
    source, _ = load_network(config.init_from, "python main.py --config=configs/dfkd.py, or start from random")
    if {**source.description, "dtype": description["dtype"]} != description:
        raise UserError(f"init_from {config.init_from} holds {source.description}, expected {description}")
    return build_network(description)._replace(params=source.params, stats=source.stats)
