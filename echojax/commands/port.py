"""Recognises the network by names and shapes, accounts for every tensor, tries the network on a fixed input and writes
OUTPUT_DIR, which echojax.load, --config.init_from and --workdir (with --mode=evaluate or infer) accept. A distilled
student that comes with its teacher has it in OUTPUT_DIR/teacher. Nothing of the file is run.
"""

import argparse

from echojax.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="a file of torch.save or safetensors")
    parser.add_argument("output_dir", metavar="OUTPUT_DIR", help="the checkpoint directory to write")
    parser.add_argument(
        "--network",
        default="auto",
        help="auto (default), deeplabv3, r2plus1d_18, r3d_18, mc3_18, resnet50, convlstm or echoclip",
    )
    parser.add_argument(
        "--mean",
        metavar="R,G,B",
        help="grey levels 0 to 255 that the network's training subtracted; default: what the file says, else the "
        "published ones of EchoNet-Dynamic (or CLIP)",
    )
    parser.add_argument("--std", metavar="R,G,B", help="grey levels that it divided by")


def run(args: argparse.Namespace) -> int:
    from echojax.porting import report
    from echojax.porting.port import port

    mean, std = (parse_levels(f"--{name}", getattr(args, name)) for name in ("mean", "std"))
    ported = port(args.source, args.output_dir, args.network, mean, std)
    print("\n\n".join(map(report.describe, ported)))
    return 0


def parse_levels(option: str, text: str | None) -> tuple[float, ...] | None:
    """Three comma-separated numbers."""
    if text is None:
        return None
    try:
        levels = tuple(map(float, text.split(",")))
    except ValueError:
        levels = ()
    if len(levels) != 3:
        raise UserError(f"{option} is {text!r}, expected three numbers such as 32.1,32.6,33.4")
    return levels
