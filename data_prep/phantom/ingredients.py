"""What makes phantoms hard, by name: everything that can be left out of them, for ablations.

`sampling.py` draws every ingredient's numbers whether or not it is left out, so that a phantom with and one without it
are the same heart, seen at the same moment, apart from that ingredient.
"""

import difflib
from collections.abc import Iterable

import numpy as np

from echojax.errors import UserError

# Name, and what a phantom is like where it is left out.
INGREDIENTS = {
    "foreshortening": "the imaged plane always passes through the apex",
    "remodelling": "no ventricle is dilated, none hypertrophic",
    "straight_septum": "septum and lateral wall curve alike on average",
    "zoom": "the ventricle's length in pixels varies by its anatomy only",
    "placement": "heart and sector lie near their usual place and angle",
    "chambers": "atria and right heart are of middle size, atrial walls as bright as the ventricle's",
    "papillary": "no papillary muscle crosses the traced border",
    "trabeculae": "the cavity is smooth",
    "annulus": "leaflets hang exactly from the traced plane",
    "tracing_margin": "the traced border is the visible one, and that is sharp",
    "arrhythmia": "beats are regular to within 2 percent, none comes early",
    "wall_motion": "all segments contract together and fully",
    "sway": "the heart neither swings with its beat nor drifts with breath",
    "contrast": "blood is black, walls and surroundings are of middle brightness",
    "compression": "gain, dynamic range and gamma are the middle ones",
    "transducer": "the point-spread function and its side lobes are the middle ones",
    "compounding": "speckle is fully developed",
    "haze": "no clutter lies over the picture",
    "clouds": "no dense fog hides a part of the heart",
    "reverberation": "no arcs stand in the near field",
    "shadows": "no rib casts a shadow",
    "dropout": "no side of the sector loses its walls",
    "fading": "no segment of a wall fades",
    "contact": "the probe touches the chest all along",
    "streaks": "no bright reflectors beside and behind the heart",
    "resampling": "the picture was never of another size",
    "jpeg": "the picture was never compressed with loss before it was stored",
    "marks": "no probe marker, depth scale or ECG",
}


def check_without(names: Iterable[str]) -> tuple[str, ...]:
    """The names to leave out, sorted and without repeats.

    Raises:
        UserError: a name that is none of `INGREDIENTS`.
    """
    names = tuple(sorted(set(names)))
    for name in names:
        if name not in INGREDIENTS:
            near = difflib.get_close_matches(name, INGREDIENTS, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(INGREDIENTS)}"
            raise UserError(f"phantom: cannot leave out {name!r}, phantoms have no such ingredient; {hint}")
    return names


class Draws:
    """Random numbers of one video, drawn in full or closer to what is usual, some ingredients left out.

    Args:
        rng: where they come from.
        variety: 1 draws from the distributions as they are written; 0 always gives their middle; between them the
            distance from the middle, and the chance of what is rare, shrink in proportion.
        without: names of `INGREDIENTS`.
    """

    def __init__(self, rng: np.random.Generator, variety: float, without: tuple[str, ...] = ()):
        self.rng, self.variety, self.without = rng, variety, without

    def uniform(self, low: float, high: float) -> float:
        return self._towards(0.5 * (low + high), self.rng.uniform(low, high))

    def normal(self, mean: float, deviation: float) -> float:
        return self._towards(mean, self.rng.normal(mean, deviation))

    def beta(self, a: float, b: float) -> float:
        return self._towards(a / (a + b), self.rng.beta(a, b))

    def usually(self, share: float) -> bool:
        """True in a share of the videos above one half; in more of them when there is less variety."""
        return self.rng.random() < 1 - (1 - share) * self.variety

    def rarely(self, share: float) -> bool:
        """True in a share of the videos below one half; in fewer of them when there is less variety."""
        return self.rng.random() < share * self.variety

    def count(self, shares: tuple[float, ...]) -> int:
        """A number from 0; more than 0 in fewer videos when there is less variety."""
        shares = self.variety * np.asarray(shares)
        shares[0] += 1 - self.variety
        return int(self.rng.choice(len(shares), p=shares))

    def of(self, ingredient: str, value, plain):
        """`value`, already drawn, or `plain` where the ingredient is left out."""
        return plain if ingredient in self.without else value

    def sometimes(self, share: float, low: float, high: float) -> float:
        """Uniform from low to high in a share of the videos below one half, 0 in the others; always two numbers."""
        present, value = self.rarely(share), self.uniform(low, high)
        return value if present else 0.0

    def _towards(self, middle: float, value: float) -> float:
        return value if self.variety == 1 else middle + self.variety * (value - middle)
