"""FILE gets the original's names, in its order and under its key, so that PyTorch code loads it with strict=True;
porting it again gives the same bits. A name that ends in .safetensors gets that format and needs no PyTorch.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint_dir", metavar="CHECKPOINT_DIR", help="a run, its best or a step, ported or trained")
    parser.add_argument("file", metavar="FILE", help="the file to write: .pt or .safetensors")


def run(args: argparse.Namespace) -> int:
    from echojax.porting.export import export

    for network in export(args.checkpoint_dir, args.file):
        place = f", under {network.key!r}" if network.key else ""
        print(f"{args.file}: {len(network.tensors)} tensors{place}; the first is {next(iter(network.tensors))}")
    return 0
