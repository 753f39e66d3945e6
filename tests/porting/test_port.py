"""From a PyTorch program's weights to a checkpoint directory and back, on narrow networks of every family.

The files are safetensors, which need no PyTorch; everything behind the reading of a file is the same for all formats
(tests/porting/test_torch_files.py has PyTorch's own).
"""

import dataclasses

import numpy as np
import pytest
from narrow_networks import DEEPLAB, DESCRIPTIONS, convlstm, narrow_state_dict, save_weights, video
from safetensors.numpy import load_file

import echojax
from echojax import cli
from echojax.errors import UserError
from echojax.networks import load_network
from echojax.porting import source
from echojax.porting.export import export
from echojax.porting.families import FAMILIES, recognise
from echojax.porting.file_kinds import FileKind
from echojax.porting.inputs import ECHONET
from echojax.porting.port import port
from echojax.train import checkpoint

STARTS = ("coco", "imagenet", "kinetics")


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_every_family_goes_there_and_back(name, tmp_path):
    """Recognised, opened with the same weights, and exported as it came; porting that again gives the same bits."""
    description, state_dict = DESCRIPTIONS[name], narrow_state_dict(DESCRIPTIONS[name])
    path = save_weights(tmp_path / "best.safetensors", state_dict)
    (ported,) = port(path, tmp_path / "ported")
    assert ported.recognised.description == description
    assert ported.recognised.is_start == (name in STARTS)
    opened, preprocessing = load_network(tmp_path / "ported", "")
    assert opened.description == description and preprocessing == ported.preprocessing
    export(tmp_path / "ported", tmp_path / "back.safetensors")
    assert_same_tensors(load_file(tmp_path / "back.safetensors"), load_file(path))
    port(tmp_path / "back.safetensors", tmp_path / "again")
    again, same_preprocessing = load_network(tmp_path / "again", "")
    for mine, theirs in ((opened.params, again.params), (opened.stats, again.stats)):
        assert_same_tensors(mine, theirs)
    # It carries them now, so it says another source.
    assert dataclasses.replace(same_preprocessing, source="") == dataclasses.replace(preprocessing, source="")


def assert_same_tensors(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape
        assert np.array_equal(found[name], tensor), name


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "backbone.", "module.model.", "_orig_mod.module."])
@pytest.mark.parametrize("description", [DEEPLAB, video()], ids=["segmentation", "ef"])
def test_prefixes(prefix, description, tmp_path):
    path = save_weights(tmp_path / "best.safetensors", narrow_state_dict(description), prefix)
    (found,) = source.open_source(path).state_dicts
    assert found.prefix == prefix
    assert recognise(found.shapes()).description == description


def test_one_stray_tensor_does_not_hide_the_network(tmp_path):
    tensors = {f"model.{name}": tensor for name, tensor in narrow_state_dict(video()).items()}
    path = save_weights(tmp_path / "33.safetensors", tensors | {"criterion.weight": np.ones(1, np.float32)}, "")
    with pytest.raises(UserError, match=r"1 difference; not part of the network: criterion.weight \(1,\)"):
        port(path, tmp_path / "out")


@pytest.mark.parametrize("num_blocks", [1, 2, 3, 4])
@pytest.mark.parametrize("num_layers", [1, 2, 3, 4])
def test_convlstms_of_any_size_are_recognised(num_blocks, num_layers):
    description = convlstm(num_blocks, num_layers)
    shapes = {name: tensor.shape for name, tensor in narrow_state_dict(description).items()}
    assert len(shapes) == 7 * num_blocks * num_layers + 7 * (num_blocks - 1) + 2
    assert recognise(shapes).description == description
    assert [name for name, family in FAMILIES.items() if family.describe(shapes)] == ["convlstm"]


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_no_network_is_taken_for_another(name):
    shapes = {key: tensor.shape for key, tensor in narrow_state_dict(DESCRIPTIONS[name]).items()}
    assert len([family for family in FAMILIES.values() if family.describe(shapes)]) == 1


# --- What a file holds beside one network -----------------------------------------------------------------------------


@pytest.fixture
def fake_file(monkeypatch):
    """Lets `open_source` read this content."""

    def give(content):
        monkeypatch.setattr(source, "read_file", lambda path: (FileKind.TORCH_ZIP, content))

    return give


def in_parallel(description, seed=0):
    return {f"module.{name}": tensor for name, tensor in narrow_state_dict(description, seed).items()}


def test_a_student_comes_with_its_teacher(fake_file, tmp_path):
    student, teacher = in_parallel(video()), in_parallel(video(in_channels=4), seed=1)
    optimiser = {"state": {0: {"momentum_buffer": np.zeros(3)}}, "param_groups": []}
    fake_file({"epoch": 24, "state_dict": student, "state_dict_0": teacher, "opt_dict": optimiser})
    assert [each.directory for each in port("best.pt", tmp_path / "kd")] == [tmp_path / "kd", tmp_path / "kd/teacher"]
    assert echojax.load(tmp_path / "kd").network == video()
    assert echojax.load(tmp_path / "kd" / "teacher").network == video(in_channels=4)
    exported = export(tmp_path / "kd" / "teacher", tmp_path / "teacher.safetensors")
    assert [(each.key, list(each.tensors)) for each in exported] == [("state_dict_0", list(teacher))]


def test_a_network_is_found_however_deep(fake_file, tmp_path):
    fake_file({"config": {"lr": 1e-4}, "checkpoint": {"ema": {"model": in_parallel(video())}}})
    (ported,) = port("best.pt", tmp_path / "out")
    assert ported.state_dict.key == "checkpoint.ema.model"


def test_two_networks_that_are_no_pair_are_refused(fake_file, tmp_path):
    fake_file({"model": in_parallel(video()), "ema": in_parallel(video())})
    with pytest.raises(UserError, match=r"holds 2 networks \(model, ema\), and which is meant cannot be told"):
        port("best.pt", tmp_path / "out")


def test_the_same_tensor_with_and_without_prefix_is_refused(fake_file):
    fake_file(in_parallel(video()) | {"fc.bias": np.zeros(1, np.float32)})
    with pytest.raises(UserError, match="holds some tensors twice"):
        source.open_source("best.pt")


# --- Preprocessing ----------------------------------------------------------------------------------------------------


def test_preprocessing_is_echonets_unless_said_otherwise(tmp_path):
    path = save_weights(tmp_path / "best.safetensors", narrow_state_dict(video()))
    (ported,) = port(path, tmp_path / "out")
    found = ported.preprocessing
    assert found.mean == (32.085175, 32.591923, 33.37932) and found.std == (50.129288, 50.487717, 51.34619)
    assert (found.size, found.num_frames, found.period, found.in_channels) == ((112, 112), 32, 2, 3)
    assert "best.safetensors carries none" in found.source
    (given,) = port(path, tmp_path / "out", mean=(1, 2, 3), std=(4, 5, 6))
    assert (given.preprocessing.mean, given.preprocessing.std) == ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    assert given.preprocessing.source == "given to echojax port"


def test_frames_and_period_are_the_files(fake_file, tmp_path):
    """EchoNet's and CSS's EF checkpoints say them."""
    fake_file({"state_dict": in_parallel(video()), "frames": 16, "period": 4})
    (ported,) = port("best.pt", tmp_path / "out")
    assert (ported.preprocessing.num_frames, ported.preprocessing.period) == (16, 4)


def test_preprocessing_of_each_family(tmp_path):
    found = {}
    for name in ("segmentation", "convlstm_11", "echoclip"):
        path = save_weights(tmp_path / f"{name}.safetensors", narrow_state_dict(DESCRIPTIONS[name]))
        found[name] = port(path, tmp_path / name)[0].preprocessing
    images = dataclasses.replace(ECHONET, num_frames=0, period=1, source=found["segmentation"].source)
    assert found["segmentation"] == images
    assert (found["convlstm_11"].mean, found["convlstm_11"].std, found["convlstm_11"].in_channels) == ((0,), (1,), 1)
    assert found["echoclip"].size == (224, 224) and found["echoclip"].mean[0] == pytest.approx(122.77, abs=0.01)


# --- The command ------------------------------------------------------------------------------------------------------


def test_the_report(tmp_path, capsys):
    state_dict = narrow_state_dict(DEEPLAB) | {"aux_classifier.0.weight": np.zeros(1, np.float32)}
    state_dict["backbone.layer2.1.conv3.weight"][3, 1] = -7.5
    path = save_weights(tmp_path / "best.safetensors", state_dict)
    assert cli.main(["port", str(path), str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    num_norms = sum(name.endswith("num_batches_tracked") for name in state_dict)
    for words in (
        "DeepLabV3-ResNet50, segmentation; width 4, in_channels 3, blocks 1-2-1-1",
        f"{len(state_dict)}, of which {len(state_dict) - num_norms - 1} used; every leaf here is filled",
        f"{num_norms}: counts batches",
        "1: the auxiliary head of COCO weights",
        "7.5  backbone.layer2.1.conv3.kernel",
        "112x112 RGB; mean 32.0852 32.5919 33.3793, std 50.1293 50.4877 51.3462",
        "logits (1, 112, 112): mean",
        f'echojax.load("{tmp_path / "out"}")',
    ):
        assert words in shown


def test_a_start_says_what_it_is_for(tmp_path, capsys):
    path = save_weights(tmp_path / "kinetics.safetensors", narrow_state_dict(DESCRIPTIONS["kinetics"]), "")
    cli.main(["port", str(path), str(tmp_path / "out")])
    shown = capsys.readouterr().out
    assert "--config=configs/ef.py --config.init_from=" in shown and "echojax.load" not in shown


def test_what_was_trained_here_is_not_overwritten(tmp_path):
    path = save_weights(tmp_path / "best.safetensors", narrow_state_dict(video()))
    (ported,) = port(path, tmp_path / "out")
    port(path, tmp_path / "out")  # a port may be repeated
    best = checkpoint.load_metadata(tmp_path / "out" / "best")
    checkpoint.save_weights(
        tmp_path / "run", ported.network.params, ported.network.stats, dataclasses.replace(best, stage="ef")
    )
    with pytest.raises(UserError, match="holds a run that was trained here"):
        port(path, tmp_path / "run")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file; expected a directory"):
        port(path, tmp_path / "file")


def test_export_of_what_is_not_there(tmp_path, capsys):
    assert cli.main(["export-torch", str(tmp_path / "no"), str(tmp_path / "w.safetensors")]) == 2
    assert "does not exist; make one with: any stage, or echojax port" in capsys.readouterr().err


def test_the_improved_student_has_no_original(tmp_path):
    description = {**convlstm(), "variant": "improved"}
    path = save_weights(tmp_path / "w.safetensors", narrow_state_dict(description))
    (ported,) = port(path, tmp_path / "out")
    assert ported.recognised.description == description
    with pytest.raises(UserError, match="which PyTorch's EchoDFKD cannot run"):
        export(tmp_path / "out", tmp_path / "back.safetensors")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_types_become_float32_and_return_as_they_were(dtype, tmp_path):
    import ml_dtypes

    numpy_dtype = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    state_dict = narrow_state_dict(video())
    small = {name: a.astype(numpy_dtype) if a.dtype == np.float32 else a for name, a in state_dict.items()}
    (ported,) = port(save_weights(tmp_path / "half.safetensors", small), tmp_path / "out")
    assert ported.network.params["fc.bias"].dtype == np.float32
    assert ported.state_dict.dtypes().keys() == {dtype}
    (exported,) = export(tmp_path / "out", tmp_path / "back.safetensors")
    assert_same_tensors({name.removeprefix("module."): tensor for name, tensor in exported.tensors.items()}, small)
