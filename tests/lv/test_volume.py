import numpy as np

from echojax import lv


def test_a_cylinder_has_its_volume():
    np.testing.assert_allclose(lv.disc_volume(np.full(20, 4.0), np.array(9.0)), np.pi * 2**2 * 9)


def test_many_discs_approach_an_ellipsoid_and_volumes_are_batched():
    num_discs = 2000
    middle = (np.arange(num_discs) + 0.5) / num_discs * 2 - 1
    diameters = 5.0 * np.sqrt(1 - middle**2)
    volumes = lv.disc_volume(np.stack([diameters, 2 * diameters]), np.array([8.0, 8.0]))
    np.testing.assert_allclose(volumes, np.pi / 6 * 8 * 5**2 * np.array([1, 4]), rtol=1e-6)


def test_scaling_all_lengths_scales_the_volume_by_the_cube():
    diameters, length = np.linspace(1, 4, 20), np.array(8.0)
    np.testing.assert_allclose(lv.disc_volume(3 * diameters, 3 * length), 27 * lv.disc_volume(diameters, length))
