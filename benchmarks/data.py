"""What stages, evaluation and conversion are measured on: phantoms as AVI files and records, made when asked for."""

import dataclasses
import functools
import pathlib

import numpy as np

from benchmarks.sizes import Sizes
from data_prep import echonet
from data_prep.phantom.dataset import write_dataset
from echojax.data import dataset_preprocessing
from echojax.networks import Network
from echojax.records import MaskWriter, VideoSet, open_videos
from echojax.train.checkpoint import Metadata, save_weights
from echojax.versions import versions


@dataclasses.dataclass(frozen=True)
class Data:
    """Phantoms of one length in a folder, two thirds of them in TRAIN."""

    folder: pathlib.Path
    sizes: Sizes

    @functools.cached_property
    def source(self) -> pathlib.Path:
        """AVI files and tables in EchoNet-Dynamic's layout."""
        sizes = self.sizes
        shares, frames = (2 / 3, 1 / 6, 1 / 6), sizes.video_frames
        return write_dataset(self.folder / "source", sizes.num_videos, 0, num_frames=frames, split_shares=shares)

    @functools.cached_property
    def records(self) -> pathlib.Path:
        """The same as RGB records."""
        echonet.convert(self.source, self.folder / "records", progress=False)
        return self.folder / "records"

    @functools.cached_property
    def videos(self) -> VideoSet:
        return open_videos(self.records)

    @property
    def num_labelled(self) -> int:
        """Half of TRAIN."""
        return len(self.videos.select("TRAIN")) // 2

    @property
    def num_unlabelled(self) -> int:
        return len(self.videos.select("TRAIN")) - self.num_labelled

    @functools.cached_property
    def masks_dir(self) -> pathlib.Path:
        """Masks of every frame of TRAIN, noise."""
        rng = np.random.default_rng(0)
        names = [str(name) for name in self.videos.name[self.videos.select("TRAIN")]]
        writer = MaskWriter(self.folder / "masks", "TRAIN", names, producer="noise")
        shape = (self.sizes.video_frames, 112, 112)
        for shard, of_shard in writer.pending():
            writer.write_shard(shard, ((name, rng.integers(0, 256, shape, np.uint8)) for name in of_shard))
        writer.finish()
        return self.folder / "masks"

    def save_teacher(self, network: Network) -> pathlib.Path:
        """A teacher as a finished run, for distillation."""
        workdir = self.folder / "teacher"
        preprocessing = dataset_preprocessing(self.videos, self.sizes.clip_frames, 1, in_channels=4)
        metadata = Metadata("teacher", network.description, preprocessing, 0, None, {}, {}, versions())
        save_weights(workdir, network.params, network.stats, metadata)
        return workdir
