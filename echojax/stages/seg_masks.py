"""Supervised segmentation where the mask of every frame is known, as phantoms' is: the packaged network's training."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from echojax import clips
from echojax.augment import AugmentStrength, augment_frames
from echojax.data import Batches, Stream, dataset_preprocessing, padded_blocks, stack
from echojax.errors import UserError
from echojax.evaluate import pooled_dice_from_counts
from echojax.models import functional
from echojax.networks import Network, describe_segmentation
from echojax.preprocessing import Preprocessing
from echojax.records import open_masks, open_videos
from echojax.stages import common
from echojax.stages.dfkd import frame_losses
from echojax.student_clips import StudentClips
from echojax.train.loop import Stage
from echojax.train.mesh import compiler_options, make_mesh, put_batch

KIND = "segmentation"
MASKS_MADE_BY = "python -m data_prep masks --source=PHANTOMS --data_dir=MASKS_DIR"
PRETRAINED = common.Pretrained(
    "a ResNet-50 trained on ImageNet", "https://download.pytorch.org/models/resnet50-0676ba61.pth"
)


def build(config) -> Stage:
    """DeepLabV3 on frames drawn from each video, changed by `augment`: BCE, mean of all pixels, plus w (1 - Dice)."""
    videos = open_videos(config.data_dir)
    masks = open_masks(config.masks_dir, MASKS_MADE_BY)
    num_frames = config.clip.num_frames
    cohorts = {
        split: common.unlabelled_cohort(videos, videos.select(split), config.labels, num_frames - 1, masks)
        for split in ("TRAIN", "VAL")
    }
    if not len(cohorts["VAL"]):
        raise UserError(f"no VAL video is left to choose the best network by: {cohorts['VAL'].describe()}")
    strength = AugmentStrength.from_config(config.augment)
    network = common.initial_network(describe_segmentation(config.network), config, PRETRAINED)
    preprocessing = dataset_preprocessing(videos, num_frames=0, period=1, in_channels=3)

    def source(split: str, sampling: str) -> StudentClips:
        return StudentClips(videos, cohorts[split].positions, masks, num_frames, (config.clip.period,), sampling)

    def loss(params, stats, constants, batch, step, key):
        del constants, step
        of_pictures, of_dropout = jax.random.split(key)
        frames, targets = as_images(batch["clips"])
        frames, targets = augment_frames(of_pictures, frames, targets, strength)
        x = clips.normalise(frames[..., None], preprocessing.mean, preprocessing.std)
        outputs, stats = functional.apply(network.definition, params, stats, x, train=True, key=of_dropout)
        parts = jax.tree.map(jnp.mean, frame_losses(outputs["logits"][None], targets[None]))
        return _total(parts, config.seg_masks.dice_weight), (stats, parts)

    return Stage(
        name="seg_masks",
        network=network,
        preprocessing=preprocessing,
        batches=Batches({"clips": Stream(source("TRAIN", "uniform"), config.train.batch_size)}, config.seed),
        loss=loss,
        validate=make_validation(
            network,
            preprocessing,
            source("VAL", "centre"),
            config.seg_masks.dice_weight,
            config.validation.batch_size,
        ),
        criterion="loss",
        notes=(
            *(f"{split}: {cohort.describe()}" for split, cohort in cohorts.items()),
            f"masks: {'; '.join(f'{split}: {made_by}' for split, made_by in masks.producer.items())}",
        ),
    )


def as_images(batch: dict[str, Array]) -> tuple[UInt8[Array, "n h w"], Float[Array, "n h w"]]:
    """Grey levels and probabilities of all frames of a batch of clips, one after the other."""
    frames, targets = (array.reshape(-1, *array.shape[2:]) for array in (batch["clip"], batch["target"]))
    return frames, clips.target_probabilities(targets)


def make_validation(
    network: Network, preprocessing: Preprocessing, source: StudentClips, dice_weight: float, batch_size: int
) -> common.Validate:
    """Validation on one clip per video, unchanged: `loss` as in training, its parts, and `dice`, pooled."""

    @partial(jax.jit, compiler_options=compiler_options())
    def measure(params, stats, batch):
        frames, targets = as_images(batch)
        x = clips.normalise(frames[..., None], preprocessing.mean, preprocessing.std)
        outputs, _ = functional.apply(network.definition, params, stats, x, train=False)
        shape = batch["clip"].shape
        logits, targets = outputs["logits"].reshape(shape), targets.reshape(shape)
        predicted, wanted = logits > 0, targets >= 0.5
        areas = {"intersection": predicted & wanted, "predicted": predicted, "wanted": wanted}
        counts = {name: jnp.sum(mask, axis=(1, 2, 3)) for name, mask in areas.items()}
        return counts | {name: jnp.mean(of_name, 1) for name, of_name in frame_losses(logits, targets).items()}

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
