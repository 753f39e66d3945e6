"""Trains, evaluates and applies echojax. Kept short, so that everything else can be imported and tested.

    python main.py --config=configs/demo.py                     the whole chain on phantoms, minutes on a laptop
    python main.py --config=configs/css.py                      one stage: seg, css, ef, teacher, kd, dfkd, ...
    python main.py --config=configs/css.py:smoke                the same config shrunk to a minute, on phantoms
    python main.py --config=configs/kd.py --config.kd.unlabelled_weight=2.5
    python main.py --config=configs/kd.py --mode=evaluate --config.evaluation.splits="('TEST',)"

configs/base.py explains every field. Exit codes: 0 done; 1 some inputs failed; 2 wrong use, said in one line.
Research use only, not a medical device.
"""

import sys

from absl import flags, logging
from ml_collections import config_flags

from echojax import run
from echojax.errors import UserError
from echojax.train import memory, processes

_CONFIG = config_flags.DEFINE_config_file("config", None, "Which stage, with all its settings: a file of configs/.")
_MODE = flags.DEFINE_enum("mode", "train", run.MODES, "train (and then evaluate), evaluate, or infer on every video.")
_PROCESSES = flags.DEFINE_string("processes", "", "One of several: auto, or INDEX/COUNT@HOST:PORT; docs/scaling.md.")
_WORKDIR = flags.DEFINE_string("workdir", "", "Where results go; runs/<stage>, or runs/smoke/<stage>, if not given.")


def parse_flags(argv: list[str]) -> None:
    """Parses the command line; whatever is wrong with it becomes a UserError of one line."""
    try:
        unexpected = flags.FLAGS(argv)[1:]
        config = _CONFIG.value
        stage = config and config.stage  # a file that could not be read says so only when it is used
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(" ".join(str(error.args[0] if error.args else error).split())) from error
    if unexpected:
        raise UserError(f"unexpected argument {unexpected[0]!r}; settings are given as --config.field=value")
    if not stage:
        raise UserError("which config? For instance: python main.py --config=configs/demo.py")


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit code."""
    if {"-h", "--help"} & set(argv):
        print(__doc__ + "\n" + flags.FLAGS.module_help(sys.modules[__name__]))
        return 0
    logging.set_verbosity(logging.WARNING)  # a checkpoint's every step is not news
    try:
        parse_flags(argv)
        with processes.joined(_PROCESSES.value):
            memory.keep_freed_memory()
            return run.run(_CONFIG.value, _WORKDIR.value, _MODE.value)
    except UserError as error:
        print(f"echojax: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv))
