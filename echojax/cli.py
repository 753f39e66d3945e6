"""`echojax <command>`: for people with a checkpoint or a clip, without a config.

Exit code: 0 all done; 1 some inputs failed, each listed with its reason; 2 wrong use, one line.
"""

import argparse
import importlib
import sys

import echojax
from echojax.errors import UserError

# Command -> module with `add_arguments(parser)` and `run(args) -> exit code`, and what it is for.
COMMANDS = {
    "predict": ("echojax.commands.predict", "clips to ejection fractions, with masks, overlay videos and reports"),
    "port": ("echojax.commands.port", "PyTorch's weights (.pt, .pth, .ckpt, .bin, .safetensors) to a checkpoint here"),
    "export-torch": ("echojax.commands.export_torch", "a checkpoint from here to PyTorch, under the original's names"),
    "doctor": ("echojax.commands.doctor", "what is installed, which devices there are, what is missing for what"),
}

EXAMPLES = """examples:
  echojax predict clip.avi study/ --output=results
  echojax port deeplabv3_resnet50_random.pt weights/segmentation
  echojax port best.pt weights/ef --mean=32.1,32.6,33.4 --std=50.1,50.5,51.3
  echojax export-torch runs/css css.pt
  echojax doctor

`echojax COMMAND --help` explains one command. Training and evaluation: python main.py --help.
Research use only, not a medical device."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {text}" for name, (_, text) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="echojax",
        description=f"Heart function from ultrasound video, in JAX.\n\ncommands:\n{commands}",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this and exit")
    parser.add_argument("--version", action="version", version=f"echojax {echojax.__version__}")
    parser.add_argument("command", nargs="?", choices=tuple(COMMANDS), metavar="COMMAND")
    own, rest = parser.parse_known_args(arguments[:1])
    if own.command is None:
        parser.print_help()
        return 0 if own.help else 2
    return run_command(parser.prog, own.command, rest + arguments[1:])


def run_command(prog: str, name: str, arguments: list[str]) -> int:
    """Runs a command with its arguments; what a user did wrong becomes one line."""
    # Only the chosen command's module is imported: --help stays fast.
    module_name, text = COMMANDS[name]
    module = importlib.import_module(module_name)
    parser = argparse.ArgumentParser(
        prog=f"{prog} {name}",
        description=f"{text}.\n\n{module.__doc__}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    try:
        return module.run(parser.parse_args(arguments))
    except UserError as error:
        print(f"echojax: {error}", file=sys.stderr)
    except OSError as error:
        # A full disk, a folder that may not be written: nothing is half done.
        print(f"echojax: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nechojax: interrupted", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
