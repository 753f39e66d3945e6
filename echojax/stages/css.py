"""CSS, stage 1: segmentation of traced frames, and cyclic self-supervision on an unlabelled clip."""

import jax
import jax.numpy as jnp

from echojax import clips, losses
from echojax.data import Batches, CycleClips, Stream, TracedFrames, dataset_preprocessing
from echojax.errors import UserError
from echojax.models import functional
from echojax.networks import describe_segmentation
from echojax.ops import spatial_sum
from echojax.records import open_videos
from echojax.stages import common
from echojax.stages.seg import PRETRAINED
from echojax.train.loop import Stage

KIND = "segmentation"


def build(config) -> Stage:
    """DeepLabV3 with L = L_seg + w L_cyc; features of L_cyc are layer4 summed over space."""
    videos = open_videos(config.data_dir)
    css = config.css
    labelled, unlabelled = common.training_positions(videos, config.labels)
    train, val = (common.traced_cohort(videos, positions) for positions in (labelled, videos.select("VAL")))
    cycle = common.unlabelled_cohort(videos, unlabelled, config.labels, min_frames=css.num_frames * css.period)
    network = common.initial_network(describe_segmentation(config.network), config, PRETRAINED)
    preprocessing = dataset_preprocessing(videos, num_frames=0, period=1, in_channels=3)
    order = config.labels.ed_es_order
    if css.template < css.chunk + css.offset:
        raise UserError(
            f"css.template is {css.template} frames, "
            f"expected at least css.chunk + css.offset = {css.chunk + css.offset}"
        )
    cycle_clips = CycleClips(videos, cycle.positions, css.num_frames, css.period, css.template, css.chunk, css.offset)
    batches = Batches(
        {
            "labelled": Stream(TracedFrames(videos, train.positions, order), config.train.batch_size),
            "unlabelled": Stream(cycle_clips, 1),
        },
        config.seed,
    )
    start_step = css.start_epoch * batches.steps_per_epoch

    def cyclic_loss(features, template_start):
        return losses.cyclic_loss(features, template_start, css.template, css.chunk, css.offset, css.temperature)

    def loss(params, stats, constants, batch, step, key):
        del constants
        labelled, unlabelled = batch["labelled"], batch["unlabelled"]
        size = len(labelled["ed"])
        clip = unlabelled["cycle_clip"].reshape(-1, *unlabelled["cycle_clip"].shape[2:])
        images = jnp.concatenate([labelled["ed"], labelled["es"], clip])
        x = clips.normalise(images, preprocessing.mean, preprocessing.std)
        # Three forward passes of the paper in one, each with batch statistics of its own.
        outputs, stats = functional.apply(
            network.definition, params, stats, x, train=True, groups=(size, size, len(clip)), key=key
        )
        masks = jnp.concatenate([labelled["ed_mask"], labelled["es_mask"]])
        loss_seg = jnp.sum(losses.segmentation_loss(outputs["logits"][: 2 * size], masks)) / 2
        features = spatial_sum(outputs["layer4"][2 * size :])
        features = features.reshape(-1, css.num_frames, features.shape[-1])
        loss_cyc = jnp.mean(jax.vmap(cyclic_loss)(features, unlabelled["template_start"]))
        # With gradient accumulation every part sees the one clip whole and adds its share of that loss.
        loss_cyc = loss_cyc * (size / config.train.batch_size)
        weight = jnp.where(step < start_step, 0.0, css.loss_weight)
        return loss_seg + weight * loss_cyc, (stats, {"loss_seg": loss_seg, "loss_cyc": loss_cyc})

    return Stage(
        name="css",
        network=network,
        preprocessing=preprocessing,
        batches=batches,
        loss=loss,
        validate=common.make_segmentation_validation(
            network, preprocessing, TracedFrames(videos, val.positions, order), config.validation
        ),
        criterion="loss",
        sums_examples=True,
        notes=(
            f"labelled: {train.describe()}",
            f"unlabelled: {cycle.describe()}",
            f"validation: {val.describe()}",
        ),
    )
