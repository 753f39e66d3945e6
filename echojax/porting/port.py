"""PyTorch's files to checkpoint directories: read, recognise, account for every tensor, try, write.

networks = port("best.pt", "runs/ported")
"""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from echojax.errors import UserError
from echojax.networks import Network, abstract_network, make_apply
from echojax.porting import families, inputs
from echojax.porting.families import Recognised
from echojax.porting.names import BATCH_COUNT, from_torch
from echojax.porting.source import STUDENT, TEACHER, Source, StateDict, open_source
from echojax.preprocessing import Preprocessing
from echojax.train import checkpoint
from echojax.versions import versions

# A distillation's teacher is written here, in the directory of its student.
TEACHER_FOLDER = "teacher"


class PortedNetwork(NamedTuple):
    """One network of a file, in a checkpoint directory.

    Attributes:
      source: the file.
      state_dict: where in it the network was.
      recognised: which network it is.
      network: with its weights.
      ignored: source tensors that are not used, and why.
      preprocessing: what its input must be.
      directory: the checkpoint directory.
      trial: its outputs on `inputs.fixed_input`.
    """

    source: Source
    state_dict: StateDict
    recognised: Recognised
    network: Network
    ignored: dict[str, str]
    preprocessing: Preprocessing
    directory: pathlib.Path
    trial: dict[str, np.ndarray]


def port(
    source: str | pathlib.Path,
    output_dir: str | pathlib.Path,
    network: str = "auto",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> list[PortedNetwork]:
    """Ports every network of a PyTorch or safetensors file to a checkpoint directory.

    Args:
      source: the file.
      output_dir: where to; a student that comes with its teacher has it in `output_dir/teacher`.
      network: "auto", or a name of `families.FAMILIES`.
      mean, std: grey levels per colour channel that the network was trained with; None takes the file's own, else the
        ones published with it.

    Returns:
      What was ported, one entry per network; all is written when it returns, or nothing.

    Raises:
      UserError: the file cannot be used, holds another network, or does not fit it tensor by tensor.
    """
    output_dir = pathlib.Path(output_dir).expanduser()
    _check_output(output_dir)
    if network != "auto" and network not in families.FAMILIES:
        raise UserError(f"--network is {network!r}, expected auto or one of {', '.join(families.FAMILIES)}")
    opened = open_source(source)
    found = _choose(opened, network)
    ported = [
        _convert(opened, state_dict, recognised, mean, std, output_dir / folder)
        for folder, (state_dict, recognised) in found.items()
    ]
    for each in ported:
        _write(each)
    return ported


def _check_output(output_dir: pathlib.Path) -> None:
    if output_dir.exists() and not output_dir.is_dir():
        raise UserError(f"{output_dir} is a file; expected a directory to write the checkpoint to")
    best = output_dir / "best"
    if best.is_dir() and checkpoint.load_metadata(best).stage != "port":
        raise UserError(f"{output_dir} holds a run that was trained here; port to another directory")


def _choose(source: Source, network: str) -> dict[str, tuple[StateDict, Recognised]]:
    """The networks of a file by the folder below OUTPUT_DIR that they go to."""
    found = [(state_dict, families.recognise(state_dict.shapes(), network)) for state_dict in source.state_dicts]
    known = {state_dict.key: (state_dict, recognised) for state_dict, recognised in found if recognised}
    if not known:
        raise UserError(_describe_unknown(source, network))
    if len(known) == 1:
        return {"": next(iter(known.values()))}
    if known.keys() == {STUDENT, TEACHER}:
        return {"": known[STUDENT], TEACHER_FOLDER: known[TEACHER]}
    raise UserError(
        f"{source.path} holds {len(known)} networks ({', '.join(known)}), and which is meant cannot be told; "
        f"expected one, or a student ({STUDENT}) and its teacher ({TEACHER}); save the one you want alone"
    )


def _describe_unknown(source: Source, network: str) -> str:
    tensors = max((state_dict.tensors for state_dict in source.state_dicts), key=len)
    first = ", ".join(f"{name} {tensor.shape}" for name, tensor in list(tensors.items())[:3])
    what = f"{source.path} holds tensors ({len(tensors)}, such as {first})"
    others = [families.recognise(state_dict.shapes()) for state_dict in source.state_dicts]
    other = next((recognised.family.title for recognised in others if recognised), None)
    if other:
        return f"{what}, which are not {families.FAMILIES[network].title}: this is {other}; use --network=auto"
    known = "; ".join(f"{family.name} ({family.title})" for family in families.FAMILIES.values())
    return f"{what} of a network that is not known here; expected one of: {known}"


def _convert(
    source: Source,
    state_dict: StateDict,
    recognised: Recognised,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    directory: pathlib.Path,
) -> PortedNetwork:
    network = abstract_network(recognised.description)
    table = recognised.family.table
    where = f"{source.path}{f' ({state_dict.key})' if state_dict.key else ''}"
    arrays = from_torch(state_dict.tensors, table, network.params, network.stats, where)
    network = network._replace(params=arrays.params, stats=arrays.stats)
    preprocessing = inputs.preprocessing_of(recognised.description, source.entries, mean, std, source.path.name)
    return PortedNetwork(
        source, state_dict, recognised, network, arrays.ignored, preprocessing, directory, _try(network, preprocessing)
    )


def _try(network: Network, preprocessing: Preprocessing) -> dict[str, np.ndarray]:
    """The network's outputs on the fixed input; all of them finite."""
    x = inputs.fixed_input(network.description["family"], preprocessing)
    outputs = make_apply(network)(network.params, network.stats, x)
    outputs = {name: np.asarray(value) for name, value in outputs.items()}
    infinite = [name for name, value in outputs.items() if not np.isfinite(value).all()]
    if infinite:
        raise UserError(f"the weights are unusable: {', '.join(infinite)} of the network overflows on a plain input")
    return outputs


def _write(ported: PortedNetwork) -> None:
    container = {
        "source": str(ported.source.path),
        "key": ported.state_dict.key,
        "prefix": ported.state_dict.prefix,
        "dtypes": {
            name: str(tensor.dtype)
            for name, tensor in ported.state_dict.tensors.items()
            if tensor.dtype != np.float32 and not name.endswith(BATCH_COUNT)
        },
        "num_batches": {
            name: int(tensor) for name, tensor in ported.state_dict.tensors.items() if name.endswith(BATCH_COUNT)
        },
    }
    metadata = checkpoint.Metadata(
        stage="port",
        network=ported.recognised.description,
        preprocessing=ported.preprocessing,
        step=0,
        best=None,
        iterator={},
        config={"port": container},
        versions=versions(),
    )
    contiguous = [
        {name: np.asarray(array, order="C") for name, array in part.items()}
        for part in (ported.network.params, ported.network.stats)
    ]
    checkpoint.save_weights(ported.directory, *contiguous, metadata)
