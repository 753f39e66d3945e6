"""Files that are not what their name says: each is refused with what it is, in one line, and none of it is run.

Their messages stand in one table at the end of pytest's output.
"""

import gzip
import io
import json
import os
import pathlib
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from narrow_networks import convlstm, narrow_state_dict, save_weights, video

from echojax import cli

CRIME = "crime"


class Malicious:
    """Unpickled by pickle.load, this would make a file."""

    def __reduce__(self):
        return os.mkdir, (CRIME,)


def ef_weights() -> dict[str, np.ndarray]:
    return narrow_state_dict(video())


def torch_zip(path: pathlib.Path, pickled: bytes, **more: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, content in more.items():
            archive.writestr(f"archive/{name}", content)


def cut(path: pathlib.Path, num_bytes: int) -> None:
    path.write_bytes(path.read_bytes()[:num_bytes])


def write_truncated_zip(path):
    torch_zip(path, b"\x80\x02}q\x00.", storage=bytes(5000))
    cut(path, 3000)


def write_whole_model(path):
    torch_zip(path, b"\x80\x02ctorchvision.models.resnet\nResNet\nq\x00)\x81q\x01.")


def write_legacy_malicious(path):
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
    path.write_bytes(magic + pickle.dumps(1001, protocol=2) + pickle.dumps({}, protocol=2) + pickle.dumps(Malicious()))


def write_keras(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", b"\x89HDF\r\n\x1a\n")


def write_tar(path):
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("weights"), io.BytesIO())


def write_saved_model(path):
    path.mkdir()
    (path / "saved_model.pb").write_bytes(b"\x08\x01")


def write_folder(path):
    path.mkdir()
    (path / "33.ckpt").touch()


def write_truncated_safetensors(path):
    save_weights(path, ef_weights())
    cut(path, path.stat().st_size - 100)


def write_missing_tensor(path):
    tensors = ef_weights()
    del tensors["fc.bias"], tensors["layer3.0.conv1.0.0.weight"]
    save_weights(path, tensors)


def write_nan(path):
    tensors = ef_weights()
    tensors["layer2.0.conv1.1.weight"][3] = np.nan
    save_weights(path, tensors)


def write_no_network(path):
    save_weights(path, {"a": np.zeros(3, np.float32)}, prefix="")


def write_optimiser(path):
    save_weights(path, {"velocity": np.zeros(3, np.float32), "step": np.array(4)}, prefix="")


def write_gzip(path):
    path.write_bytes(gzip.compress(b"weights"))


def write_npy(path):
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))


def write_npz(path):
    with open(path, "wb") as file:
        np.savez(file, a=np.zeros(3))


def write_lfs_pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 125332011\n")


def write_html(path):
    path.write_text("<!DOCTYPE html>\n<html><head><title>Google Drive - Virus scan warning</title></head></html>")


def write_onnx(path):
    path.write_bytes(b"\x08\x08\x12\x07pytorch\x1a\x062.13.0" + bytes(range(256)))


def write_random(path):
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def write_stranger(path):
    save_weights(path, {"features.0.weight": np.zeros((64, 3, 11, 11), np.float32)}, prefix="")


# Kind: (file name, what writes it, words of the message, further arguments).
WRONG = {
    "no such file": ("no.pt", lambda path: None, "no such file"),
    "empty": ("best.pt", lambda path: path.touch(), "is empty (0 bytes); download it again"),
    "folder with a checkpoint in it": ("models", write_folder, "one of those in it (33.ckpt)"),
    "HTML page": ("best.pt", write_html, "an HTML page: the download was a web page"),
    "Git LFS pointer": ("best.pt", write_lfs_pointer, "a Git LFS pointer, not the file of 125332011 bytes"),
    "JSON": ("best.pt", lambda path: path.write_text(json.dumps({"error": "not found"})), "a JSON file"),
    "XML": ("best.pt", lambda path: path.write_text("<Error><Code>AccessDenied</Code></Error>"), "an XML file"),
    "text": ("best.pt", lambda path: path.write_text("404: Not Found"), "text ('404: Not Found')"),
    "truncated .pt": ("best.pt", write_truncated_zip, "truncated: it begins as PyTorch's zip format"),
    "truncated .safetensors": ("w.safetensors", write_truncated_safetensors, "is truncated or damaged"),
    "pickle that runs code, in a .pt": (
        "best.pt",
        lambda path: torch_zip(path, pickle.dumps({"state_dict": Malicious()}, protocol=2)),
        "is refused, and nothing of it was run: opening it would call posix.mkdir",
    ),
    "pickle that runs code, in an old .pt": (
        "best.pt",
        write_legacy_malicious,
        "nothing of it was run: opening it would call posix.mkdir",
    ),
    "pickle that runs code, bare": (
        "best.pkl",
        lambda path: path.write_bytes(pickle.dumps(Malicious())),
        "a plain Python pickle, which can run any code when it is opened and is not opened here",
    ),
    "pickle that runs code, in text": (
        "best.pt",
        lambda path: path.write_bytes(pickle.dumps(Malicious(), protocol=0)),
        "a Python pickle in text form",
    ),
    "whole model with its classes": ("model.pt", write_whole_model, "would call torchvision.models.resnet.ResNet"),
    "damaged list of tensors": ("best.pt", lambda path: torch_zip(path, b"\x80\x02}q"), "is truncated or damaged"),
    "TorchScript": (
        "model.pt",
        lambda path: torch_zip(path, b"\x80\x02}.", **{"constants.pkl": b"\x80\x02)."}),
        "a TorchScript program",
    ),
    "ONNX": ("model.onnx", write_onnx, "an ONNX model"),
    "TensorFlow checkpoint": (
        "model.ckpt.index",
        lambda path: path.write_bytes(bytes(40) + struct.pack("<Q", 0xDB4775248B80FB57)),
        "the index of a TensorFlow checkpoint",
    ),
    "TensorFlow SavedModel": ("model", write_saved_model, "a TensorFlow SavedModel folder"),
    "Keras, HDF5": ("w.h5", lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(90)), "an HDF5 file, as Keras"),
    "Keras, zip": ("model.keras", write_keras, "a Keras model"),
    ".npz": ("w.npz", write_npz, "a NumPy archive (.npz)"),
    ".npy": ("w.npy", write_npy, "one NumPy array (.npy)"),
    "gzip": ("best.pt.gz", write_gzip, "compressed with gzip; unpack it first"),
    "tar": ("best.pth.tar", write_tar, "a tar archive; unpack it first"),
    "video": ("clip.avi", lambda path: path.write_bytes(b"RIFF" + bytes(60)), "a video (AVI); it holds no weights"),
    "random bytes": ("best.pt", write_random, "of no known kind (it begins with"),
    "unknown network": (
        "alexnet.safetensors",
        write_stranger,
        "(1, such as features.0.weight (64, 3, 11, 11)) of a network that is not known here",
    ),
    "another network than asked for": (
        "w.safetensors",
        lambda path: save_weights(path, ef_weights()),
        "are not ConvLSTM student of EchoDFKD: this is R(2+1)D-18",
        "--network=convlstm",
    ),
    "unknown --network": (
        "w.safetensors",
        lambda path: save_weights(path, ef_weights()),
        "--network is 'resnet', expected auto or one of deeplabv3,",
        "--network=resnet",
    ),
    "no network's tensors": ("w.safetensors", write_no_network, "holds no network's tensors but a: a tensor (3,)"),
    "optimiser alone": ("w.safetensors", write_optimiser, "holds no network's tensors but"),
    "missing tensors": ("w.safetensors", write_missing_tensor, "2 differences; missing: fc.bias (1,); missing: layer3"),
    "extra tensor": (
        "w.safetensors",
        lambda path: save_weights(path, ef_weights() | {"projector.weight": np.zeros((2, 3), np.float32)}),
        "1 difference; not part of the network: projector.weight (2, 3)",
    ),
    "wrong shape": (
        "w.safetensors",
        lambda path: save_weights(path, ef_weights() | {"fc.weight": np.zeros((1, 5), np.float32)}),
        "fc.weight is (1, 5), expected (1, 32)",
    ),
    "not a number": ("w.safetensors", write_nan, "layer2.0.conv1.1.weight holds 1 values that are not finite, of 8"),
    "overflowing weights": (
        "w.safetensors",
        lambda path: save_weights(path, {name: a * 1e30 for name, a in ef_weights().items()}),
        "the weights are unusable: ef, pooled of the network overflows",
    ),
    "mean without std": (
        "w.safetensors",
        lambda path: save_weights(path, ef_weights()),
        "--mean and --std belong together",
        "--mean=1,2,3",
    ),
    "mean of two numbers": (
        "w.safetensors",
        lambda path: save_weights(path, ef_weights()),
        "--mean is '1,2', expected three numbers",
        "--mean=1,2",
    ),
    "mean for raw grey levels": (
        "w.safetensors",
        lambda path: save_weights(path, narrow_state_dict(convlstm()), "model."),
        "--mean and --std are not for the ConvLSTM student",
        "--mean=1,2,3",
        "--std=1,2,3",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_files_are_explained(kind, tmp_path, monkeypatch, capsys, record_property):
    name, write, words, *options = WRONG[kind]
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name)
    assert cli.main(["port", name, "out", *options]) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.out == "" and len(shown.err.splitlines()) == 1
    # Nothing was run, and nothing begun.
    assert {path.name for path in tmp_path.iterdir()} <= {name}
    record_property("wrong_file", (kind, shown.err.removeprefix("echojax: ").strip()))


def test_a_checkpoint_of_ours_is_named_as_one(tmp_path, capsys):
    (tmp_path / "best").mkdir()
    assert cli.main(["port", str(tmp_path), str(tmp_path / "out")]) == 2
    assert "holds an echojax checkpoint already" in capsys.readouterr().err.replace("is a folder with", "holds")


def test_without_torch_its_files_are_still_told_apart(tmp_path, capsys, monkeypatch):
    """What needs torch says how to get it; all of the above needs none."""
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    torch_zip(tmp_path / "best.pt", b"\x80\x02}q\x00.")
    assert cli.main(["port", str(tmp_path / "best.pt"), str(tmp_path / "out")]) == 2
    assert 'pip install "echojax[port]"' in capsys.readouterr().err
