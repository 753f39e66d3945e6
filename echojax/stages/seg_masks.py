"""Supervised segmentation where the mask of every frame is known, as phantoms' is: the packaged network's training."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from echojax import clips
from echojax.augment import AugmentStrength, augment_frames
from echojax.data import Batches, Stream, dataset_preprocessing
from echojax.errors import UserError
from echojax.models import functional
from echojax.networks import Network, describe_segmentation
from echojax.preprocessing import Preprocessing
from echojax.records import open_masks, open_videos
from echojax.stages import common, mask_training
from echojax.student_clips import StudentClips
from echojax.train.loop import Stage

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
        parts = jax.tree.map(jnp.mean, mask_training.frame_losses(outputs["logits"][None], targets[None]))
        return mask_training.total_loss(parts, config.seg_masks.dice_weight), (stats, parts)

    return Stage(
        name="seg_masks",
        network=network,
        preprocessing=preprocessing,
        batches=Batches({"clips": Stream(source("TRAIN", "uniform"), config.train.batch_size)}, config.seed),
        loss=loss,
        validate=mask_training.make_validation(
            make_predict(network, preprocessing),
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


def make_predict(network: Network, preprocessing: Preprocessing) -> mask_training.Predict:
    """Logits of the unchanged frames of clips in eval mode, and their targets."""

    def predict(params, stats, batch):
        frames, targets = as_images(batch)
        x = clips.normalise(frames[..., None], preprocessing.mean, preprocessing.std)
        outputs, _ = functional.apply(network.definition, params, stats, x, train=False)
        return outputs["logits"].reshape(batch["clip"].shape), targets.reshape(batch["clip"].shape)

    return predict
