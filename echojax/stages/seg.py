"""Supervised segmentation of the left ventricle in ED and ES frames (EchoNet-Dynamic; CSS without its cyclic loss)."""

import jax.numpy as jnp

from echojax import clips, losses
from echojax.data import Batches, Stream, TracedFrames, dataset_preprocessing
from echojax.models import functional
from echojax.networks import describe_segmentation
from echojax.records import open_videos
from echojax.stages import common
from echojax.train.loop import Stage

KIND = "segmentation"
PRETRAINED = common.Pretrained(
    "a ResNet-50 trained on ImageNet", "https://download.pytorch.org/models/resnet50-0676ba61.pth"
)


def build(config) -> Stage:
    """DeepLabV3 on the labelled videos' traced frames; L_seg, mean of the ED and the ES batch's sums."""
    videos = open_videos(config.data_dir)
    labelled, _ = common.training_positions(videos, config.labels)
    train, val = (common.traced_cohort(videos, positions) for positions in (labelled, videos.select("VAL")))
    network = common.initial_network(describe_segmentation(config.network), config, PRETRAINED)
    preprocessing = dataset_preprocessing(videos, num_frames=0, period=1, in_channels=3)
    order = config.labels.ed_es_order

    def loss(params, stats, constants, batch, step, key):
        del constants, step
        labelled = batch["labelled"]
        size = len(labelled["ed"])
        images = jnp.concatenate([labelled["ed"], labelled["es"]])
        x = clips.normalise(images, preprocessing.mean, preprocessing.std)
        # ED and ES are two forward passes of the paper, with batch statistics of their own.
        outputs, stats = functional.apply(
            network.definition, params, stats, x, train=True, groups=(size, size), key=key
        )
        masks = jnp.concatenate([labelled["ed_mask"], labelled["es_mask"]])
        loss_seg = jnp.sum(losses.segmentation_loss(outputs["logits"], masks)) / 2
        return loss_seg, (stats, {"loss_seg": loss_seg})

    return Stage(
        name="seg",
        network=network,
        preprocessing=preprocessing,
        batches=Batches(
            {"labelled": Stream(TracedFrames(videos, train.positions, order), config.train.batch_size)}, config.seed
        ),
        loss=loss,
        validate=common.make_segmentation_validation(
            network, preprocessing, TracedFrames(videos, val.positions, order), config.validation
        ),
        criterion="loss",
        sums_examples=True,
        notes=(f"labelled: {train.describe()}", f"validation: {val.describe()}"),
    )
