"""Files that appear whole or not at all."""

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def replaced_file(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Gives a temporary path to write to, and moves it to `path` when the block ends well.

    The temporary file has the same name, from whose suffix many writers choose their format, in a hidden folder of its
    own beside `path`. It is gone after an error; what a killed process leaves, `remove_leftovers` removes. Missing
    folders are made.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent) as folder:
        temporary = pathlib.Path(folder) / path.name
        yield temporary
        os.replace(temporary, path)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a UTF-8 text file whole or not at all."""
    with replaced_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes a JSON file, indented, whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def remove_leftovers(directory: str | os.PathLike) -> None:
    """Removes the hidden `.tmp` files and folders that killed processes left in a folder nobody is writing to."""
    for path in pathlib.Path(directory).glob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
