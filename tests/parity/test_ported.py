"""Checkpoint files of PyTorch, ported by the command and opened by `echojax.load`, against what PyTorch computes.

Full-size networks with the goldens' weights, as the goldens' own script writes them; and networks built here in
PyTorch, with weights of another seed.
"""

import subprocess
import sys

import numpy as np
import pytest
from golden_weights import golden, golden_tensor
from shared import require_shared

import echojax
from echojax import cli

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed: pip install .[port]")

import torch_convlstm  # noqa: E402
import torch_echoclip  # noqa: E402

from benchmarks.pytorch.convlstm import Student  # noqa: E402
from benchmarks.pytorch.segmentation import DeepLabV3  # noqa: E402
from benchmarks.pytorch.video import VideoResNet  # noqa: E402

# A share of the largest magnitude in each array.
FORWARD = 1e-4
SEED = 7


def assert_close(ours, expected):
    expected = np.asarray(expected)
    assert np.asarray(ours).dtype == np.float32 and ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, rtol=0, atol=FORWARD * np.abs(expected).max())


def port_and_load(path, folder) -> echojax.loading.Model:
    assert cli.main(["port", str(path), str(folder)]) == 0
    return echojax.load(folder)


# --- The goldens ------------------------------------------------------------------------------------------------------


@pytest.fixture
def golden_model(tmp_path):
    """Writes a golden network by the goldens' script, and ports it."""
    script = require_shared("goldens") / "weights.py"

    def load(network: str) -> echojax.loading.Model:
        command = [sys.executable, str(script), network, str(tmp_path / "best.pt")]
        subprocess.run(command, check=True)
        return port_and_load(tmp_path / "best.pt", tmp_path / "ported")

    return load


def test_css_segmentation(golden_model):
    expected = golden("seg_eval")
    out = golden_model("css_segmentation").apply(np.moveaxis(expected["x"], 1, -1))
    assert_close(out["logits"], expected["logits"])
    assert_close(out["layer4"].sum((1, 2)), expected["layer4_sum"])


@pytest.mark.parametrize(("network", "channels"), [("ef_student", 3), ("ef_teacher", 4)])
def test_ef_networks(golden_model, network, channels):
    expected = golden(f"ef{channels}_eval")
    out = golden_model(network).apply(np.moveaxis(expected["x"], 1, -1))
    assert_close(out["ef"], expected["prediction"][:, 0])
    assert_close(out["pooled"], expected["pooled"])


def test_convlstm(golden_model):
    expected = golden("convlstm_eval")
    model, x = golden_model("convlstm_33"), expected["x"]
    assert_close(model.apply(np.moveaxis(x, 2, -1))["logits"], expected["logits"])
    # The same videos frame by frame, as a user has them.
    for video, logits in zip(x, expected["logits"], strict=True):
        assert_close(model.segment(video[:, 0].astype(np.uint8)), logits)


def test_echoclip(golden_model):
    expected, model = golden("echoclip_eval"), golden_model("echoclip")
    out = model.apply(np.moveaxis(expected["image"], 1, -1))
    assert_close(out["image_embedding"], expected["image_embedding"])
    assert_close(model.encode_text(expected["tokens"]), expected["text_embedding"])


# --- Another seed, networks built here --------------------------------------------------------------------------------


def save(network: torch.nn.Module, path, clip: bool = False) -> torch.nn.Module:
    """Gives a network the weights of another seed and saves it as DataParallel does."""
    weights = {
        name: torch.tensor(golden_tensor(name, tuple(tensor.shape), SEED, clip))
        for name, tensor in network.state_dict().items()
    }
    network.load_state_dict(weights)
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}}, path)
    return network.eval()


@torch.no_grad()
def test_segmentation_of_another_seed(tmp_path):
    theirs = save(DeepLabV3(16, (3, 4, 6, 3), dropout_rate=0.0), tmp_path / "w.pt")
    x = np.random.default_rng(SEED).standard_normal((2, 3, 112, 112)).astype(np.float32)
    logits, features = theirs(torch.tensor(x))
    out = port_and_load(tmp_path / "w.pt", tmp_path / "out").apply(np.moveaxis(x, 1, -1))
    assert_close(out["logits"], logits)
    assert_close(out["layer4"], features.movedim(1, -1))


@torch.no_grad()
@pytest.mark.parametrize("channels", [3, 4])
def test_ef_networks_of_another_seed(channels, tmp_path):
    theirs = save(VideoResNet("r2plus1d_18", channels, 16, (2, 2, 2, 2)), tmp_path / "w.pt")
    x = np.random.default_rng(SEED).standard_normal((2, channels, 16, 56, 56)).astype(np.float32)
    out = port_and_load(tmp_path / "w.pt", tmp_path / "out").apply(np.moveaxis(x, 1, -1))
    assert_close(out["ef"], theirs(torch.tensor(x)))


@torch.no_grad()
@pytest.mark.parametrize(("num_blocks", "num_layers"), [(1, 1), (2, 3), (3, 1), (4, 2)])
def test_convlstms_of_another_seed(num_blocks, num_layers, tmp_path):
    theirs = save(Student(num_blocks, num_layers, 12, torch_convlstm.ConvLSTM), tmp_path / "w.pt")
    x = np.random.default_rng(SEED).integers(256, size=(2, 4, 1, 32, 48)).astype(np.float32)
    out = port_and_load(tmp_path / "w.pt", tmp_path / "out").apply(np.moveaxis(x, 2, -1))
    assert_close(out["logits"], theirs(torch.tensor(x)))


@torch.no_grad()
def test_echoclip_of_another_seed(tmp_path):
    sizes = dict(embedding=24, text_width=128, text_depth=3, vocabulary=60, context_length=10)
    theirs = save(torch_echoclip.EchoClip(8, (1, 2, 3, 1), **sizes), tmp_path / "w.pt", clip=True)
    model = port_and_load(tmp_path / "w.pt", tmp_path / "out")
    rng = np.random.default_rng(SEED)
    x, tokens = rng.standard_normal((2, 3, 224, 224)).astype(np.float32), rng.integers(60, size=(3, 10))
    assert_close(model.apply(np.moveaxis(x, 1, -1))["image_embedding"], theirs.visual(torch.tensor(x)))
    assert_close(model.encode_text(tokens), theirs.encode_text(torch.tensor(tokens)))


def test_pytorch_takes_back_what_was_ported(tmp_path):
    """An exported file goes into the PyTorch network, strictly, and gives the same numbers."""
    theirs = save(VideoResNet("r2plus1d_18", 4, 16, (2, 2, 2, 2)), tmp_path / "w.pt")
    port_and_load(tmp_path / "w.pt", tmp_path / "out")
    assert cli.main(["export-torch", str(tmp_path / "out"), str(tmp_path / "back.pt")]) == 0
    again = torch.nn.DataParallel(VideoResNet("r2plus1d_18", 4, 16, (2, 2, 2, 2)))
    again.load_state_dict(torch.load(tmp_path / "back.pt")["state_dict"], strict=True)
    x = torch.randn(1, 4, 8, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.module.eval()(x), theirs(x))
