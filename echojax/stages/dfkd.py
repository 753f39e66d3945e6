"""EchoDFKD, step 2: a recurrent student learns from a teacher's masks of every frame; no label is looked at."""

import jax
import jax.numpy as jnp

from echojax import clips
from echojax.data import Batches, Stream, usual_size
from echojax.errors import UserError
from echojax.models import functional
from echojax.networks import Network, build_network, describe_student, load_network
from echojax.preprocessing import Preprocessing
from echojax.records import open_masks, open_videos
from echojax.stages import common, mask_training
from echojax.student_clips import StudentClips
from echojax.train.loop import Stage
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
        validate=mask_training.make_validation(
            make_predict(network, recipe), source("VAL", "centre"), dfkd.dice_weight, config.validation.batch_size
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
        parts = jax.tree.map(jnp.mean, mask_training.frame_losses(outputs["logits"], targets))
        return mask_training.total_loss(parts, dice_weight), (stats, parts)

    return loss


def make_predict(network: Network, recipe: clips.StudentRecipe) -> mask_training.Predict:
    """Logits of whole clips in eval mode, and their targets."""

    def predict(params, stats, batch):
        x, targets = clips.prepare_student(batch["clip"], batch["target"], recipe)
        outputs, _ = functional.apply(network.definition, params, stats, x, train=False)
        return outputs["logits"], targets

    return predict


def _initial_network(config) -> Network:
    """Random weights, as the paper, or those of another student of the same size."""
    description = describe_student(config.dfkd, config.network.dtype)
    if config.init_from == "random":
        return build_network(description, config.seed)
    source, _ = load_network(config.init_from, "python main.py --config=configs/dfkd.py, or start from random")
    if {**source.description, "dtype": description["dtype"]} != description:
        raise UserError(f"init_from {config.init_from} holds {source.description}, expected {description}")
    return build_network(description)._replace(params=source.params, stats=source.stats)
