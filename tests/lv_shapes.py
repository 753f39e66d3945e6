"""Bodies of revolution of known volume, cut along their axis: masks for the tests of `echojax.lv`."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Body:
    """An ellipsoid, or the half of one whose flat side is the mitral plane, about an axis in the picture.

    Lengths are in pixels. The axis points from the apex to the base, `angle` is that from the y axis towards x.
    """

    length: float
    diameter: float
    angle: float = 0.0
    x: float = 55.5  # middle of the axis
    y: float = 55.5
    is_half: bool = False

    @property
    def volume(self) -> float:
        return np.pi / 6 * self.diameter**2 * self.length

    @property
    def area(self) -> float:
        return np.pi / 4 * self.diameter * self.length

    def soft_mask(self, size: int = 112, samples: int = 8, dy: float = 1.0, dx: float = 1.0) -> np.ndarray:
        """Share of each pixel inside, float64; `dy` and `dx` are the sizes of a pixel."""
        rows, columns = np.mgrid[: size * samples, : size * samples]
        y, x = ((place + 0.5) / samples - 0.5 for place in (rows, columns))
        along, across = self._heart_coordinates(x * dx, y * dy)
        inside = self._contains(along, across)
        return inside.reshape(size, samples, size, samples).mean(axis=(1, 3))

    def mask(self, size: int = 112, dy: float = 1.0, dx: float = 1.0) -> np.ndarray:
        """Pixels whose centre lies inside."""
        return self.soft_mask(size, 1, dy, dx) > 0.5

    def end(self, side: int) -> np.ndarray:
        """x, y of the apex (-1) or the base (1)."""
        reach = side * self.length / 2
        return np.array([self.x + reach * np.sin(self.angle), self.y + reach * np.cos(self.angle)])

    def _heart_coordinates(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sin, cos = np.sin(self.angle), np.cos(self.angle)
        x, y = x - self.x, y - self.y
        return x * sin + y * cos, x * cos - y * sin

    def _contains(self, along: np.ndarray, across: np.ndarray) -> np.ndarray:
        radius = 2 * across / self.diameter
        if self.is_half:
            from_base = (self.length / 2 - along) / self.length
            return (from_base >= 0) & (from_base**2 + radius**2 <= 1)
        return (2 * along / self.length) ** 2 + radius**2 <= 1


def draw_bodies(num: int, seed: int, **fixed) -> list[Body]:
    """Ellipsoids and half ellipsoids of the sizes of ventricles, in any direction, off the pixel grid."""
    rng = np.random.default_rng(seed)
    bodies = []
    for index in range(num):
        length = rng.uniform(42, 80)
        drawn = dict(
            length=length,
            diameter=length * rng.uniform(0.4, 0.75),
            angle=rng.uniform(-np.pi, np.pi),
            x=rng.uniform(54, 58),
            y=rng.uniform(54, 58),
            is_half=bool(index % 2),
        )
        bodies.append(Body(**{**drawn, **fixed}))
    return bodies
