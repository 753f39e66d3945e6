"""Writes tests/goldens/float64_steps.npz: what PyTorch computes in the recorded cases of float64_steps.py.

    PYTHONPATH=.:tests python tests/parity/record_float64_steps.py

Needs `pip install .[port]`. The file in the repository was written with PyTorch 2.13 on a CPU; test_against_torch.py
compares it with the PyTorch that is installed.
"""

import numpy as np
from float64_steps import CASES, RECORDED_DEPTH, recorded_arrays
from golden_weights import GOLDENS
from torch_steps import torch_outcome

from echojax.files import replaced_file


def main():
    arrays = {}
    for case in CASES:
        arrays |= recorded_arrays(case, torch_outcome(case, RECORDED_DEPTH[case]))
    path = GOLDENS / "float64_steps.npz"
    with replaced_file(path) as temporary:
        np.savez_compressed(temporary, **arrays)
    print(f"{path}: {len(arrays)} arrays, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
