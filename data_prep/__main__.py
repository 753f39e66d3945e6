"""`python -m data_prep <command>`: raw files to records, and back.

Exit code: 0 all done; 1 some inputs failed, each listed with its reason; 2 wrong use, one line.
"""

import argparse
import importlib
import sys

from echojax.errors import UserError
from echojax.remote import is_remote

# Command -> module with `add_arguments(parser)` and `run(args) -> exit code`, and what it is for.
COMMANDS = {
    "echonet": ("data_prep.echonet", "EchoNet-Dynamic's layout (FileList.csv, VolumeTracings.csv, Videos/) to records"),
    "synthetic": ("data_prep.synthetic", "EchoNet-Synthetic as published to records, its table repaired"),
    "phantom": (
        "data_prep.phantom.command",
        "make beating-heart phantoms with known truth, in EchoNet-Dynamic's layout",
    ),
    "beam": ("data_prep.beam", "the same conversion as an Apache Beam pipeline, on any runner"),
    "masks": ("data_prep.masks", "masks as CSS and EchoDFKD store them, or the truth of phantoms, to records; or back"),
    "verify": (
        "data_prep.verify",
        "say what is wrong with a source folder or with finished records, and how to mend it",
    ),
}

EXAMPLES = """examples:
  python -m data_prep phantom --output=phantoms --num_videos=200 --seed=0
  python -m data_prep echonet --source=phantoms --data_dir=data/phantoms
  python -m data_prep verify data/phantoms

`python -m data_prep COMMAND --help` explains one command."""


def main(arguments: list[str]) -> int:
    """Runs one command; returns its exit code."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {text}" for name, (_, text) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m data_prep",
        description=f"Raw files to records, and back.\n\ncommands:\n{commands}",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this and exit")
    parser.add_argument("command", nargs="?", choices=tuple(COMMANDS), metavar="COMMAND")
    own, rest = parser.parse_known_args(arguments[:1])
    if own.command is None:
        parser.print_help()
        return 0 if own.help else 2
    # Only the chosen command's module is imported: --help stays fast.
    name, text = COMMANDS[own.command]
    module = importlib.import_module(name)
    subparser = argparse.ArgumentParser(prog=f"{parser.prog} {own.command}", description=text)
    module.add_arguments(subparser)
    try:
        options = subparser.parse_args(rest + arguments[1:])
        _check_local(vars(options))
        return module.run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        # A full disk, a folder that may not be written: nothing is half done.
        print(f"error: {error}; mend it and run the same command again to go on", file=sys.stderr)
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again to go on", file=sys.stderr)
    return 2


def _check_local(options: dict) -> None:
    """Raises UserError where an option names a place in a bucket: it would become a folder of that name here."""
    for name in ("source", "data_dir", "output"):
        value = options.get(name)
        if value is not None and is_remote(value):
            raise UserError(
                f"--{name}={value} is in a bucket, expected a local folder: conversion appends to many files at once; "
                "convert into a local folder and copy it, or mount the bucket"
            )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
