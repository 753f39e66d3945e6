"""Trains, evaluates and applies echojax. Kept short, so that everything else can be imported and tested.

    python main.py --config=configs/demo.py                     the whole chain on phantoms, minutes on a laptop
    python main.py --config=configs/css.py                      one stage
    python main.py --config=configs/css.py:smoke                the same config shrunk to a minute, on phantoms
    python main.py --config=configs/kd.py --config.kd.unlabelled_weight=2.5
    python main.py --config=configs/kd.py --mode=evaluate --config.evaluation.splits="('TEST',)"

Exit codes: 0 done; 1 some inputs failed; 2 wrong use, said in one line. Research use only, not a medical device.
"""

import sys

from absl import app, flags, logging
from ml_collections import config_flags

from echojax import run
from echojax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file("config", None, "Which stage, with all its settings: a file of configs/.")
_MODE = flags.DEFINE_enum("mode", "train", run.MODES, "train (and then evaluate), evaluate, or infer on every video.")
_WORKDIR = flags.DEFINE_string("workdir", "", "Where checkpoints and results go; runs/<stage> if not given (runs/smoke/<stage> for smoke).")
flags.mark_flag_as_required("config")


def main(argv: list[str]) -> None:
    if argv[1:]:
        raise UserError(f"unexpected argument {argv[1]!r}; settings are given as --config.field=value")
    logging.set_verbosity(logging.WARNING)  # a checkpoint's every step is not news
    run.run(_CONFIG.value, _WORKDIR.value, _MODE.value)


def parse_flags(argv: list[str]) -> list[str]:
    try:
        return app.parse_flags_with_usage(argv)
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # a field that does not exist or does not fit
        raise UserError(" ".join(str(error).split())) from error


if __name__ == "__main__":
    try:
        app.run(main, flags_parser=parse_flags)
    except UserError as error:
        print(f"echojax: {error}", file=sys.stderr)
        sys.exit(2)
