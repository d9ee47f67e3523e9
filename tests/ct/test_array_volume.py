"""A volume in memory is read slice by slice, and a phantom's lies where its body does."""

from __future__ import annotations

import numpy as np

from pneumoseg.ct.array_volume import ArrayVolume, phantom_affine
from pneumoseg.phantom import make_body, make_ct
from pneumoseg.study import Modality, Source


def test_slices_come_in_order_from_start_to_stop() -> None:
    hu = np.arange(4, dtype=np.float32)[:, None, None].repeat(2, 1).repeat(3, 2)
    volume = ArrayVolume(hu, Source("a", modality=Modality.CT))
    assert volume.shape == (4, 2, 3)
    assert [plane[0, 0] for plane in volume.slices()] == [0, 1, 2, 3]
    assert [plane[0, 0] for plane in volume.slices(1, 3)] == [1, 2]


def test_a_phantom_s_first_voxel_and_steps() -> None:
    """Slices go down, against z of the patient; rows to the back, columns to the left."""
    scan = make_ct(make_body(1), spacing_mm=(20.0, 10.0, 8.0), noise_hu=0)
    affine = phantom_affine(scan)
    z, y, x = scan.origin_mm
    assert np.allclose(affine @ [0, 0, 0, 1], [x, y, -z, 1])
    assert np.allclose(affine @ [1, 2, 3, 1], [x + 24, y + 20, -z - 20, 1])
    volume = ArrayVolume.of_phantom(scan, "phantom")
    assert volume.source.modality is Modality.CT and volume.spacing_mm == (20.0, 10.0, 8.0)
    assert volume.geometry is not None and np.array_equal(volume.geometry.affine, affine)
