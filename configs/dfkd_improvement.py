"""The improved student against EchoDFKD's: parameters within 5 %, the same data and steps, three seeds.

What is improved: skip connections and activations in the decoder, scaled input, Dice beside cross-entropy, clips of
several speeds (configs/dfkd.py:improved).
Command: python main.py --config=configs/dfkd_improvement.py
Reports the paired difference of Dice on held-out phantoms, with 95 % intervals over videos and over seeds, whatever it
is. A killed run goes on where it stopped.
Expected: see README.md. Phantom results say that the code works, not how it does on patients.
"""

from ml_collections import ConfigDict

from configs import dfkd, dfkd_sweep

# Name of the student, and the variant of configs/dfkd.py that it is.
STUDENTS = {"reference": "", "improved": "improved"}


def get_config(variant: str = "") -> ConfigDict:
    config = dfkd_sweep.get_base(variant)
    config.stage = "improvement"
    config.seeds = (0, 1) if config.smoke else (0, 1, 2)
    config.students = ConfigDict({name: _student(of_dfkd, config) for name, of_dfkd in STUDENTS.items()})
    return config


def _student(of_dfkd: str, config: ConfigDict) -> ConfigDict:
    student = dfkd_sweep.shorten_student(dfkd.get_config(of_dfkd), config)
    student.dfkd.num_blocks, student.dfkd.num_layers, student.dfkd.width = (2, 1, 2 if config.smoke else 6)
    return student
