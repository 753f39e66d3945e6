"""Golden networks as their programs save them, ported as a user would."""

import functools
import importlib.util
import pathlib
from collections.abc import Callable

import pytest
from golden_weights import golden_state_dict
from narrow_networks import save_weights

from echojax.porting.port import port


@pytest.fixture(scope="session")
def port_golden(tmp_path_factory) -> Callable[[str], pathlib.Path]:
    """Makes the checkpoint directory of a golden network, from a .pt file or, without torch, a .safetensors file."""
    folder = tmp_path_factory.mktemp("goldens")

    @functools.cache
    def make(network: str) -> pathlib.Path:
        state_dict = golden_state_dict(network)
        if importlib.util.find_spec("torch"):
            import torch

            path = folder / f"{network}.pt"
            weights = {f"module.{name}": torch.tensor(tensor) for name, tensor in state_dict.items()}
            torch.save({"epoch": 24, "best_loss": 1.0, "loss": 1.0, "state_dict": weights}, path)
        else:
            path = save_weights(folder / f"{network}.safetensors", state_dict)
        port(path, folder / network)
        path.unlink()
        return folder / network

    return make
