"""Beating-heart phantoms: apical four-chamber echocardiograms with known truth, from a seed.

    parameters = sample_parameters(seed=0, index=7)
    phantom = render(parameters)          # frames, masks, long axis, volumes, ED, ES, LVEF
    write_dataset("phantoms", num_videos=100, seed=0)   # EchoNet-Dynamic's layout

A phantom depends on its seed and number alone; `parameters.py` says what varies,
with units, `sampling.py` how widely, and `ingredients.py` what can be left out.
"""

from data_prep.phantom.dataset import write_dataset
from data_prep.phantom.parameters import PhantomParameters
from data_prep.phantom.render import Phantom, render
from data_prep.phantom.sampling import sample_parameters

__all__ = ["Phantom", "PhantomParameters", "render", "sample_parameters", "write_dataset"]
