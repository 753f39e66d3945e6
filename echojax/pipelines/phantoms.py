"""Phantoms as a data set: made, written as AVI files and converted, by the same road as real videos."""

from pathlib import Path


def ensure_phantoms(data_dir: str, phantoms) -> None:
    """Makes the phantoms that a config asks for, unless data_dir is there already or none are asked for.

    The AVI files go to `<data_dir>_source` and stay there to be looked at; true masks, if asked for, to
    `<data_dir>_truth`.
    """
    if not phantoms.num_videos:
        return
    if not (Path(data_dir) / "dataset_info.json").exists():
        _make_phantoms(data_dir, phantoms)
    if phantoms.truth:
        from data_prep.phantom.truth import write_truth

        write_truth(f"{data_dir}_source", f"{data_dir}_truth", progress=True)


def _make_phantoms(data_dir: str, phantoms) -> None:
    # Only here: data_prep needs pandas and OpenCV, training does not.
    from data_prep import echonet
    from data_prep.phantom.dataset import write_dataset

    source = write_dataset(
        f"{data_dir}_source",
        phantoms.num_videos,
        phantoms.seed,
        num_frames=tuple(phantoms.num_frames),
        split_shares=tuple(phantoms.splits),
        variety=tuple(phantoms.variety),
        without=tuple(phantoms.without),
        progress=True,
    )
    echonet.convert(source, data_dir, pixels="gray", progress=True)
