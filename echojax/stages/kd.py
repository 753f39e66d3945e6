"""CSS, stage 3: a three-channel student learns from labels and, on unlabelled clips, from the frozen teacher."""

import dataclasses

import jax.numpy as jnp

from echojax import losses
from echojax.data import Batches, Stream
from echojax.errors import UserError
from echojax.models import functional
from echojax.models.surgery import student_from_teacher
from echojax.networks import build_network, load_network
from echojax.records import open_masks, open_videos
from echojax.stages import common
from echojax.train.loop import Stage

KIND = "ef"


def build(config) -> Stage:
    """The student starts as the teacher without its mask channel; L_dst = L_lb + w_unlb L_ulb.

    The teacher is asked about unlabelled clips alone: what the original computes with it on labelled ones is unused.
    """
    videos = open_videos(config.data_dir)
    masks = open_masks(config.masks_dir)
    clip, kd = config.clip, config.kd
    teacher, teacher_preprocessing = load_network(config.teacher_dir, "python main.py --config=configs/teacher.py")
    network = _student(teacher)
    preprocessing = dataclasses.replace(teacher_preprocessing, in_channels=3)
    _check_clip(config, preprocessing)
    labelled, unlabelled = common.training_positions(videos, config.labels)
    train, val = (common.ef_cohort(videos, positions, config.labels) for positions in (labelled, videos.select("VAL")))
    unlabelled_cohort = common.unlabelled_cohort(videos, unlabelled, config.labels, masks=masks)

    def sampled(positions, masks, train):
        return dataclasses.replace(
            common.ef_clips(config, videos, positions, masks, train=train), sampling=clip.sampling
        )

    def loss(params, stats, constants, batch, step, key):
        del step, key
        labelled, unlabelled = batch["labelled"], batch["unlabelled"]
        seen_by_teacher = common.prepare(unlabelled, preprocessing, clip)
        targets, _ = functional.apply(
            teacher.definition, constants["params"], constants["stats"], seen_by_teacher, train=False
        )
        # The same clips and crops without the mask. Unlabelled clips come first, as in the original: the running
        # statistics of the norms depend on the order.
        x = jnp.concatenate([seen_by_teacher[..., :3], common.prepare(labelled, preprocessing, clip)])
        num_unlabelled = len(unlabelled["clip"])
        groups = (num_unlabelled, len(labelled["clip"]))
        outputs, stats = functional.apply(network.definition, params, stats, x, train=True, groups=groups)
        loss_labelled = losses.squared_error(outputs["ef"][num_unlabelled:], labelled["ef"])
        loss_unlabelled = losses.unlabelled_loss(outputs["ef"][:num_unlabelled], targets["ef"])
        metrics = {"loss_labelled": jnp.mean(loss_labelled), "loss_unlabelled": jnp.mean(loss_unlabelled)}
        return losses.distillation_loss(loss_labelled, loss_unlabelled, kd.unlabelled_weight), (stats, metrics)

    return Stage(
        name="kd",
        network=network,
        preprocessing=preprocessing,
        batches=Batches(
            {
                "labelled": Stream(sampled(train.positions, None, True), config.train.batch_size),
                "unlabelled": Stream(sampled(unlabelled_cohort.positions, masks, True), kd.unlabelled_batch_size),
            },
            config.seed,
        ),
        loss=loss,
        validate=common.make_ef_validation(
            network, preprocessing, sampled(val.positions, None, False), config.validation
        ),
        criterion="mse",
        constants={"params": teacher.params, "stats": teacher.stats},
        notes=(
            f"labelled: {train.describe()}",
            f"unlabelled: {unlabelled_cohort.describe()}",
            f"validation: {val.describe()}",
        ),
    )


def _student(teacher):
    """The teacher's network without its mask channel."""
    if teacher.description["in_channels"] != 4:
        raise UserError(
            f"teacher_dir holds a network of {teacher.description['in_channels']} channels, expected 4 (RGB and mask); "
            "make one with: python main.py --config=configs/teacher.py"
        )
    params, stats = student_from_teacher(teacher.params, teacher.stats)
    return build_network({**teacher.description, "in_channels": 3})._replace(params=params, stats=stats)


def _check_clip(config, preprocessing) -> None:
    asked = (config.clip.num_frames, config.clip.period)
    trained = (preprocessing.num_frames, preprocessing.period)
    if asked != trained:
        raise UserError(
            f"clip.num_frames and clip.period are {asked}, the teacher was trained on {trained}; use the teacher's"
        )
