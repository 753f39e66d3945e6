"""Videos and masks on disk: TFRecord shards of `tf.train.Example`, described by TFDS, with an index of offsets.

A directory of records holds

    echonet-train.tfrecord-00000-of-00234 ...   shards; one record per video, raw pixels
    features.json, dataset_info.json            TFDS's description: `tfds.builder_from_directory(directory)` opens it
    index.npz                                   everything but the pixels, and where those are

and is read through the index alone:

    videos = open_videos("data/echonet")
    position = videos.select("TRAIN")[0]
    clip = videos.frames(position, start=10, stop=74, step=2)   # uint8 (32, 112, 112, 3), from these bytes alone
    videos.ef_percent[position], videos.fps[position], videos.tracings(position)

    masks = open_masks("runs/css/masks")
    masks.frames(videos.name[position], start=10, stop=74, step=2)   # uint8 (32, 112, 112)
"""

from echojax.records.masks import MaskRecord, MaskSet, MaskWriter, decode_logits, encode_logits, open_masks
from echojax.records.seg_npz import export_seg_files, list_seg_files, read_seg_file, write_seg_file
from echojax.records.tfrecord import DamagedShard
from echojax.records.videos import Tracing, VideoRecord, VideoSet, build_video_index, open_videos, write_video_shard

__all__ = [
    "DamagedShard",
    "MaskRecord",
    "MaskSet",
    "MaskWriter",
    "Tracing",
    "VideoRecord",
    "VideoSet",
    "build_video_index",
    "decode_logits",
    "encode_logits",
    "export_seg_files",
    "list_seg_files",
    "open_masks",
    "open_videos",
    "read_seg_file",
    "write_seg_file",
    "write_video_shard",
]
