"""Supervised regression of the ejection fraction from RGB clips (EchoNet-Dynamic; the baseline of CSS)."""

import jax.numpy as jnp

from echojax import losses
from echojax.data import Batches, Stream, dataset_preprocessing
from echojax.models import functional
from echojax.networks import describe_video
from echojax.records import open_videos
from echojax.stages import common
from echojax.train.loop import Stage

KIND = "ef"
PRETRAINED = {
    name: common.Pretrained(f"{name} trained on Kinetics-400", f"https://download.pytorch.org/models/{file}")
    for name, file in {
        "r2plus1d_18": "r2plus1d_18-91a641e6.pth",
        "r3d_18": "r3d_18-b3b3357e.pth",
        "mc3_18": "mc3_18-a90a0ba3.pth",
    }.items()
}


def build(config) -> Stage:
    """A three-channel video network with the mean squared error over labelled clips."""
    return build_regression(config, "ef", in_channels=3, masks=None)


def build_regression(config, name: str, in_channels: int, masks) -> Stage:
    """A video network with L_m, the mean squared error of EF, on labelled clips with or without masks."""
    videos = open_videos(config.data_dir)
    clip = config.clip
    labelled, _ = common.training_positions(videos, config.labels)
    train, val = (
        common.ef_cohort(videos, positions, config.labels, masks) for positions in (labelled, videos.select("VAL"))
    )
    description = describe_video(config.network, in_channels)
    pretrained = PRETRAINED.get(config.network.variant, PRETRAINED["r2plus1d_18"])
    network = common.initial_network(description, config, pretrained, config.network.initial_ef)
    preprocessing = dataset_preprocessing(videos, clip.num_frames, clip.period, in_channels, clip.decimate)

    def loss(params, stats, constants, batch, step, key):
        del constants, step, key
        labelled = batch["labelled"]
        x = common.prepare(labelled, preprocessing, clip)
        outputs, stats = functional.apply(network.definition, params, stats, x, train=True)
        loss_ef = jnp.mean(losses.squared_error(outputs["ef"], labelled["ef"]))
        return loss_ef, (stats, {"mae": jnp.mean(jnp.abs(outputs["ef"] - labelled["ef"]))})

    return Stage(
        name=name,
        network=network,
        preprocessing=preprocessing,
        batches=Batches(
            {
                "labelled": Stream(
                    common.ef_clips(config, videos, train.positions, masks, train=True), config.train.batch_size
                )
            },
            config.seed,
        ),
        loss=loss,
        validate=common.make_ef_validation(
            network,
            preprocessing,
            common.ef_clips(config, videos, val.positions, masks, train=False),
            config.validation,
        ),
        criterion="mse",
        notes=(f"labelled: {train.describe()}", f"validation: {val.describe()}"),
    )
