"""The packaged segmentation networks, from nothing to their folder: phantoms, training, a slim checkpoint."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from echojax import run
from echojax.errors import UserError
from echojax.networks import average, load_network
from echojax.pipelines.phantoms import ensure_phantoms
from echojax.train import checkpoint

# What a wheel may carry.
MAX_MEGABYTES = 10.0
# Written by Orbax, never read: it says where on this machine the checkpoint was made.
_NAMES_A_PLACE = "commit_success.txt"
# Of a run's config: where on this machine something was kept.
_NAME_PLACES = ("compile_cache_dir",)
_MADE_BY = "python main.py --config=configs/weights.py"


def run_pipeline(config, workdir: Path) -> None:
    """Trains both networks in folders of `workdir`, each from where it stands, and writes `config.package_dir`."""
    run_dirs = {workdir / "segmentation": config, workdir / "varied": config.varied}
    for run_dir, member in run_dirs.items():
        ensure_phantoms(member.data_dir, member.phantoms)
        run.train_stage(member.segmentation, run_dir)
    megabytes = package(list(run_dirs), Path(config.package_dir))
    print(f"{config.package_dir}: {megabytes:.2f} MB")


def package(run_dirs: Sequence[Path], package_dir: Path) -> float:
    """Writes the mean of the best checkpoints of runs, without what only training needs, and returns its megabytes.

    Raises:
      UserError: there is no checkpoint, or the weights are too large to be packaged.
    """
    network = average([load_network(str(run_dir), _MADE_BY) for run_dir in run_dirs])
    megabytes = sum(array.nbytes for part in (network.params, network.stats) for array in part.values()) / 1e6
    if megabytes > MAX_MEGABYTES:
        raise UserError(
            f"the networks' weights take {megabytes:.1f} MB, expected at most {MAX_MEGABYTES:.0f} in a package; lower "
            "network.width or network.blocks"
        )
    # Of the first network: step, config and whatever else a checkpoint says of itself; the second's differ as
    # configs/weights.py says.
    metadata = checkpoint.load_metadata(checkpoint.find_checkpoint(run_dirs[0], _MADE_BY))
    config = {name: value for name, value in metadata.config.items() if name not in _NAME_PLACES}
    metadata = dataclasses.replace(metadata, network=network.description, config=config)
    checkpoint.save_weights(package_dir, network.params, network.stats, metadata)
    for named_place in package_dir.rglob(_NAMES_A_PLACE):
        named_place.unlink()
    return megabytes
