"""The packaged segmentation network, from nothing to its folder: phantoms, training, evaluation, a slim checkpoint."""

from pathlib import Path

from echojax import run
from echojax.errors import UserError
from echojax.networks import load_network
from echojax.pipelines.phantoms import ensure_phantoms
from echojax.train import checkpoint

# What a wheel may carry.
MAX_MEGABYTES = 10.0
# Written by Orbax, never read: it says where on this machine the checkpoint was made.
_NAMES_A_PLACE = "commit_success.txt"
_MADE_BY = "python main.py --config=configs/weights.py"


def run_pipeline(config, workdir: Path) -> None:
    """Trains on phantoms in `<workdir>/segmentation`, from where it stands, and writes `config.package_dir`."""
    ensure_phantoms(config.data_dir, config.phantoms)
    run.train_stage(config.segmentation, workdir / "segmentation")
    megabytes = package(workdir / "segmentation", Path(config.package_dir))
    print(f"{config.package_dir}: {megabytes:.2f} MB")


def package(run_dir: Path, package_dir: Path) -> float:
    """Writes the weights of a run's best checkpoint, without what only training needs, and returns their megabytes.

    Raises:
      UserError: there is no checkpoint, or its weights are too large to be packaged.
    """
    best = checkpoint.find_checkpoint(run_dir, _MADE_BY)
    metadata = checkpoint.load_metadata(best)
    network, _ = load_network(str(best), _MADE_BY)
    megabytes = sum(array.nbytes for part in (network.params, network.stats) for array in part.values()) / 1e6
    if megabytes > MAX_MEGABYTES:
        raise UserError(
            f"the network's weights take {megabytes:.1f} MB, expected at most {MAX_MEGABYTES:.0f} in a package; lower "
            "network.width or network.blocks"
        )
    checkpoint.save_weights(package_dir, network.params, network.stats, metadata)
    for named_place in package_dir.rglob(_NAMES_A_PLACE):
        named_place.unlink()
    return megabytes
