"""PyTorch's own files, in all the ways people have them; needs torch."""

import collections
import os

import numpy as np
import pytest
from narrow_networks import DESCRIPTIONS, narrow_state_dict, video

from echojax import cli
from echojax.errors import UserError
from echojax.networks import load_network
from echojax.porting.export import export
from echojax.porting.port import port
from echojax.porting.source import open_source

torch = pytest.importorskip("torch", reason="reads PyTorch's files, and PyTorch is not installed: pip install .[port]")


def tensors(description=None, prefix="module.", seed=0, dtype=None):
    state_dict = narrow_state_dict(description or video(), seed)
    return collections.OrderedDict(
        (f"{prefix}{name}", torch.tensor(tensor).to(dtype if tensor.dtype == np.float32 else None))
        for name, tensor in state_dict.items()
    )


def read_weights(path):
    (state_dict,) = open_source(path).state_dicts
    return state_dict.tensors


def assert_is(found, description=None, seed=0):
    expected = narrow_state_dict(description or video(), seed)
    assert list(found) == list(expected)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def css_checkpoint():
    """All that CSS and EchoNet-Dynamic put into a checkpoint; R2 is a NumPy scalar there."""
    network = torch.nn.Linear(2, 1)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)
    network(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 15)
    return {
        "epoch": 24,
        "state_dict": tensors(),
        "period": 4,
        "frames": 16,
        "best_loss": 25.5,
        "loss": np.float32(26.0),
        "r2": np.float64(0.7),
        "opt_dict": optimiser.state_dict(),
        "scheduler_dict": schedule.state_dict(),
        "np_rndstate": np.random.RandomState(0).get_state(),
        "trch_rndstate": torch.get_rng_state(),
    }


@pytest.mark.parametrize("zipped", [True, False], ids=["new format", "old format"])
def test_checkpoints_of_css(zipped, tmp_path):
    torch.save(css_checkpoint(), tmp_path / "best.pt", _use_new_zipfile_serialization=zipped)
    assert_is(read_weights(tmp_path / "best.pt"))
    (ported,) = port(tmp_path / "best.pt", tmp_path / "out")
    assert (ported.preprocessing.num_frames, ported.preprocessing.period) == (16, 4)


def test_checkpoints_of_lightning(tmp_path):
    """Hyper-parameters and bookkeeping of classes that need not be installed; nothing of them is loaded."""
    import argparse
    import pathlib

    content = {
        "epoch": 3,
        "global_step": 100,
        "pytorch-lightning_version": "2.0.9",
        "state_dict": tensors(DESCRIPTIONS["convlstm_23"], "model."),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 1}}}},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.1), "dirpath": pathlib.Path("models")}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-3}]}],
        "lr_schedulers": [],
        "hyper_parameters": argparse.Namespace(lr=1e-3),
    }
    torch.save(content, tmp_path / "33.ckpt")
    assert_is(read_weights(tmp_path / "33.ckpt"), DESCRIPTIONS["convlstm_23"])


@pytest.mark.parametrize("nest", ["{}", "state_dict", "model", "model_state_dict", "net"])
def test_plain_and_nested_state_dicts(nest, tmp_path):
    torch.save(tensors() if nest == "{}" else {nest: tensors(), "epoch": 1}, tmp_path / "w.pth")
    assert_is(read_weights(tmp_path / "w.pth"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types(dtype, tmp_path):
    torch.save(tensors(dtype=dtype), tmp_path / "w.pt")
    (ported,) = port(tmp_path / "w.pt", tmp_path / "out")
    expected = torch.load(tmp_path / "w.pt")["module.fc.weight"].to(torch.float32).numpy()
    assert np.array_equal(ported.network.params["fc.kernel"], expected.T)


def test_parameters_of_a_module_and_views(tmp_path):
    """Parameters instead of tensors; tensors that share storage or are not contiguous."""
    state_dict = tensors()
    state_dict["module.fc.weight"] = torch.nn.Parameter(state_dict["module.fc.weight"])
    shared = torch.cat([state_dict["module.stem.1.weight"], state_dict["module.stem.1.bias"]])
    half = len(shared) // 2
    state_dict["module.stem.1.weight"], state_dict["module.stem.1.bias"] = shared[:half], shared[half:]
    kernel = state_dict["module.stem.0.weight"]
    state_dict["module.stem.0.weight"] = kernel.transpose(0, 1).contiguous().transpose(0, 1)
    torch.save(state_dict, tmp_path / "w.pt")
    assert_is(read_weights(tmp_path / "w.pt"))


def test_tensors_of_a_gpu_open_without_one(tmp_path):
    """The location that torch.save writes is all that tells such a file from another."""
    torch.save(tensors(), tmp_path / "cpu.pt", _use_new_zipfile_serialization=False)
    content = (tmp_path / "cpu.pt").read_bytes()
    # BINUNICODE "cpu" -> "cuda:0", with its length.
    moved = content.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
    assert moved != content
    (tmp_path / "gpu.pt").write_bytes(moved)
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(tmp_path / "gpu.pt")
    assert_is(read_weights(tmp_path / "gpu.pt"))


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("crime",)


@pytest.mark.parametrize("zipped", [True, False], ids=["new format", "old format"])
def test_code_is_not_run(zipped, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": tensors(), "extra": Malicious()}, "evil.pt", _use_new_zipfile_serialization=zipped)
    assert cli.main(["port", "evil.pt", "out"]) == 2
    assert "nothing of it was run: opening it would call posix.mkdir" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["evil.pt"]


def test_a_whole_model_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 1), tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"would call torch.nn.modules.linear.Linear.*model.state_dict\(\)"):
        open_source(tmp_path / "model.pt")


@pytest.mark.parametrize("zipped", [True, False], ids=["new format", "old format"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_files(zipped, share, tmp_path):
    torch.save(tensors(), tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    content = (tmp_path / "w.pt").read_bytes()
    (tmp_path / "w.pt").write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match="is truncated"):
        open_source(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (torch.zeros(3), r"holds a tensor \(3,\) instead of a state dict"),
        ([torch.zeros(3)], "holds a list of 1 instead of a state dict"),
        (
            {"epoch": 1, "opt": {"a.b": torch.zeros(3)}},
            "holds no network's tensors but epoch: a int, opt: a dictionary",
        ),
        ({"a.weight": torch.zeros(3, 3).to_sparse()}, "sparse or quantised"),
    ],
    ids=["tensor", "list", "optimiser", "sparse"],
)
def test_files_without_a_network(content, words, tmp_path):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(UserError, match=words):
        open_source(tmp_path / "w.pt")


# --- The way back -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DESCRIPTIONS)
@pytest.mark.parametrize("wrapped", [True, False], ids=["in state_dict", "plain"])
def test_there_and_back(name, wrapped, tmp_path):
    """Identical tensors, names, order and place; strict loading takes them."""
    state_dict = tensors(DESCRIPTIONS[name], "module." if wrapped else "")
    torch.save({"state_dict": state_dict} if wrapped else state_dict, tmp_path / "w.pt")
    port(tmp_path / "w.pt", tmp_path / "out")
    assert cli.main(["export-torch", str(tmp_path / "out"), str(tmp_path / "back.pt")]) == 0
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    found = back["state_dict"] if wrapped else back
    assert list(found) == list(state_dict)
    for key, tensor in state_dict.items():
        assert found[key].dtype == tensor.dtype and torch.equal(found[key], tensor)
    if wrapped:
        assert len(back["mean"]) == len(back["std"])


def test_a_student_returns_with_its_teacher(tmp_path):
    student, teacher = tensors(), tensors(video(in_channels=4), seed=1)
    torch.save({"state_dict": student, "state_dict_0": teacher}, tmp_path / "kd.pt")
    port(tmp_path / "kd.pt", tmp_path / "out")
    export(tmp_path / "out", tmp_path / "back.pt")
    back = torch.load(tmp_path / "back.pt")
    for key, expected in (("state_dict", student), ("state_dict_0", teacher)):
        assert list(back[key]) == list(expected)
        assert all(torch.equal(back[key][name], tensor) for name, tensor in expected.items())
    # By itself the teacher stands where the teacher's stage looks for it.
    export(tmp_path / "out" / "teacher", tmp_path / "teacher.pt")
    assert list(torch.load(tmp_path / "teacher.pt")["state_dict"]) == list(teacher)


def test_own_statistics_travel_along(tmp_path):
    torch.save({"state_dict": tensors(), "frames": 8, "period": 3}, tmp_path / "w.pt")
    (ported,) = port(tmp_path / "w.pt", tmp_path / "out", mean=(1, 2, 3), std=(4, 5, 0.1))
    export(tmp_path / "out", tmp_path / "back.pt")
    port(tmp_path / "back.pt", tmp_path / "again")
    _, preprocessing = load_network(tmp_path / "again", "")
    assert preprocessing.std == ported.preprocessing.std == (4.0, 5.0, 0.1)
    assert (preprocessing.num_frames, preprocessing.period) == (8, 3)
    assert "back.pt, which carries them" in preprocessing.source
