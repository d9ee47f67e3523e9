"""A volume through the cascade: what is found, measured and refused, in bounded memory."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hand_volumes import hand_hu, hand_volume
from numpy.typing import NDArray

from pneumoseg.ct.array_volume import ArrayVolume
from pneumoseg.ct.finding import VolumeFinding
from pneumoseg.ct.inference import VolumeCascade, prefetch
from pneumoseg.errors import BundleError, InputError
from pneumoseg.study import Modality, Side, Source
from tiny_bundle import write_tiny_bundle, write_tiny_ct_bundle

LEFT_BOX = np.s_[3:7, 50:70, 80:100]  # 4 slices of 20 × 20 voxels of 0.02 mL: 32 mL
SMALL_RIGHT_BOX = np.s_[9:11, 60:76, 28:42]  # 2 slices of 16 × 14: 8.96 mL


@pytest.fixture(scope="module")
def cascade(tmp_path_factory: pytest.TempPathFactory) -> VolumeCascade:
    folder = tmp_path_factory.mktemp("bundles") / "tiny_ct"
    return VolumeCascade.load(write_tiny_ct_bundle(folder).folder)


def lesion_union(finding: VolumeFinding) -> NDArray[np.bool_]:
    mask = finding.as_finding().mask
    assert mask is not None
    return mask.pixels


def test_a_lesion_is_found_where_it_is(cascade: VolumeCascade) -> None:
    volume = hand_volume(lesions=[LEFT_BOX])
    finding = cascade.predict(volume)
    assert finding.detection.positive
    (lesion,) = finding.lesions
    truth = np.zeros(volume.shape, np.bool_)
    truth[LEFT_BOX] = True
    assert np.array_equal(lesion_union(finding), truth)
    assert lesion.side is Side.LEFT and finding.side == "left"
    assert finding.volume_ml == pytest.approx(32.0)
    assert (finding.first_slice, finding.last_slice) == (3, 6)
    assert finding.greatest_thickness_mm == pytest.approx(38.0)  # 20 pixels, an even number
    # brightness in a positive slice: 400 of 128² pixels, the grid of the same proportions
    logit = 100 * (2 * 400 / 128**2 - 1) + 98
    assert finding.detection.logit == pytest.approx(logit, abs=0.1)  # slices 4, 5 have such sides
    # black slices: logit -2
    assert finding.slice_probabilities[0] == pytest.approx(1 / (1 + np.exp(2)), abs=1e-3)


def test_the_detection_is_the_highest_of_the_slices(cascade: VolumeCascade) -> None:
    finding = cascade.predict(hand_volume(lesions=[LEFT_BOX, SMALL_RIGHT_BOX]))
    assert finding.detection.probability == finding.slice_probabilities.max()
    assert finding.detection.threshold == 0.35


def test_only_suspected_slices_and_their_neighbours_are_segmented(cascade: VolumeCascade) -> None:
    """Slices 3 to 6 are bright; their direct neighbours are voted up with them at 5 mm."""
    finding = cascade.predict(hand_volume(lesions=[LEFT_BOX]))
    suspected = finding.slice_probabilities >= 0.35
    assert np.flatnonzero(suspected).tolist() == [2, 3, 4, 5, 6, 7]
    assert np.flatnonzero(finding.segmented).tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_single_thin_slice_is_not_believed(cascade: VolumeCascade) -> None:
    """At 1 mm, one bright slice (brighter than the threshold even after averaging) is too few."""
    box = np.s_[5:6, 20:108, 8:120]
    thin = cascade.predict(hand_volume(20, [box], spacing_mm=(1.0, 2.0, 2.0)))
    assert not thin.detection.positive and not thin.segmented.any() and thin.lesions == ()
    assert thin.as_finding().mask is None
    thick = cascade.predict(hand_volume(20, [box], spacing_mm=(5.0, 2.0, 2.0)))
    assert thick.detection.positive


def test_an_open_gate_segments_every_slice(cascade: VolumeCascade) -> None:
    """A lesion of 16 of 128² pixels is suspected in no slice; soft, its map of 1 is scaled down."""
    volume = hand_volume(lesions=[np.s_[3:7, 60:64, 80:84]])
    options = {"min_pixels": 0, "min_volume_ml": 0.0}
    hard, soft, off = (
        VolumeCascade.load(cascade.bundle.folder, gate=gate, **options).predict(volume)
        for gate in ("hard", "soft", "off")
    )
    assert not hard.detection.positive and not hard.segmented.any()
    assert soft.segmented.all() and off.segmented.all()
    assert soft.lesions == ()
    assert [lesion.voxels for lesion in off.lesions] == [4 * 16]


def test_share_of_the_hemithorax(cascade: VolumeCascade) -> None:
    """Lung of the left side: 12 slices of 50 × 30 voxels of 0.02 mL, without the 32 mL of lesion.

    The rim of a lesion of 1000 HU is no lung tissue, but it is no air either: it is not counted.
    """
    finding = cascade.predict(hand_volume(lesions=[LEFT_BOX]))
    assert finding.hemithorax_shares == {Side.LEFT: pytest.approx(32 / 360, abs=0.002)}
    assert finding.share_of_hemithorax == finding.hemithorax_shares[Side.LEFT]


def test_both_sides(cascade: VolumeCascade) -> None:
    finding = cascade.predict(hand_volume(lesions=[LEFT_BOX, SMALL_RIGHT_BOX]))
    assert finding.side == "both"
    assert [x.side for x in finding.lesions] == [Side.LEFT, Side.RIGHT]
    assert set(finding.hemithorax_shares) == {Side.LEFT, Side.RIGHT}


@pytest.mark.parametrize("batch", [1, 5, 64])
def test_results_do_not_depend_on_the_batch(batch: int, cascade: VolumeCascade) -> None:
    volume = hand_volume(23, [LEFT_BOX, np.s_[15:20, 45:55, 25:45]], spacing_mm=(1.5, 2.0, 2.0))
    expected = cascade.predict(volume)
    found = VolumeCascade.of(cascade.cascade, batch_slices=batch).predict(volume)
    assert np.array_equal(lesion_union(found), lesion_union(expected))
    assert np.allclose(found.slice_probabilities, expected.slice_probabilities, atol=1e-6)
    assert found.segmented.tolist() == expected.segmented.tolist()


def test_the_smallest_lesion_in_ml(tmp_path: Path, cascade: VolumeCascade) -> None:
    folder = cascade.bundle.folder
    both = [LEFT_BOX, SMALL_RIGHT_BOX]
    assert len(cascade.predict(hand_volume(lesions=both)).lesions) == 2
    strict = VolumeCascade.load(folder, min_volume_ml=9.0)
    (lesion,) = strict.predict(hand_volume(lesions=both)).lesions
    assert lesion.side is Side.LEFT


def test_without_spacing_pixels_of_the_grid_count(cascade: VolumeCascade) -> None:
    """200 pixels of the 512 grid are 12.5 pixels of a slice of 128."""
    large = np.s_[0:1, 60:80, 80:100]
    for small, kept in ((np.s_[0:1, 60:63, 30:34], [400]), (np.s_[0:1, 60:64, 30:34], [400, 16])):
        finding = cascade.predict(hand_volume(1, [large, small], spacing_mm=None))
        assert [lesion.voxels for lesion in finding.lesions] == kept
    assert [lesion.side for lesion in finding.lesions] == [Side.LEFT, Side.RIGHT]
    assert finding.lesions[0].volume_ml is None
    assert finding.volume_ml is None and finding.share_of_hemithorax is None


def test_a_film_s_bundle_never_runs_on_ct(tmp_path: Path) -> None:
    film_bundle = write_tiny_bundle(
        tmp_path / "film", network_size=64, classifier_size=64, segmenter_size=64
    )
    with pytest.raises(BundleError, match="made for xray and cannot be used on ct"):
        VolumeCascade.load(film_bundle.folder)


def test_a_ct_bundle_never_runs_on_a_film(cascade: VolumeCascade) -> None:
    with pytest.raises(InputError, match="reads CT, got xray") as caught:
        cascade.predict(hand_volume(modality=Modality.XRAY))
    assert caught.value.code == "wrong-modality"


def test_a_volume_without_lung_is_refused_and_a_picture_flagged(cascade: VolumeCascade) -> None:
    hu = hand_hu(lesions=[LEFT_BOX])
    hu[hu == -800] = 0
    where = hand_volume()
    abdomen = ArrayVolume(hu, where.source, where.spacing_mm, where.geometry)
    with pytest.raises(InputError, match="no lung was found") as caught:
        cascade.predict(abdomen)
    assert caught.value.code == "no-lung"
    finding = cascade.predict(ArrayVolume(hu[3:4], Source("picture", modality=Modality.CT)))
    assert finding.detection.positive
    assert any(note.startswith("no-lung: ") for note in finding.source.notes)


class Living:
    """How many of some arrays are alive, and how many were at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def add(self, array: NDArray[np.generic]) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        weakref.finalize(array, self._gone)

    def _gone(self) -> None:
        self.now -= 1


class Counted:
    """A long volume whose slices are made when asked for; knows how many of them are alive."""

    def __init__(self, slices: int) -> None:
        self._first = hand_hu(1)[0]
        self.shape = (slices, *self._first.shape)
        like = hand_volume(1)
        self.source, self.sop_instance_uids = like.source, None
        self.spacing_mm, self.geometry = (1.0, 2.0, 2.0), None
        self.living = Living()

    def slices(self, start: int = 0, stop: int | None = None) -> Iterator[NDArray[np.float32]]:
        for _ in range(*slice(start, stop).indices(self.shape[0])):
            one = self._first.copy()
            self.living.add(one)
            yield one
            del one


def test_slices_are_not_kept(cascade: VolumeCascade) -> None:
    """Breaks if the HU of a long series pile up."""
    volume = Counted(120)
    finding = cascade.predict(volume)
    assert finding.shape[0] == 120
    assert volume.living.most <= 3


def test_grids_are_kept_only_until_they_are_decided(
    cascade: VolumeCascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if the 8-bit grids of a long series pile up: two batches ahead, one, and the reach."""
    from pneumoseg import preprocess

    living = Living()
    original = preprocess.slice_to_grid

    def counted(hu, window):
        grid, placement = original(hu, window)
        living.add(grid)
        return grid, placement

    monkeypatch.setattr(preprocess, "slice_to_grid", counted)
    VolumeCascade.of(cascade.cascade, batch_slices=4).predict(Counted(100))
    assert living.most <= 2 * 4 + 2 * 4 + 7 + 2


def test_a_volume_that_ends_early_is_not_a_result(cascade: VolumeCascade) -> None:
    class Short(Counted):
        def slices(self, start: int = 0, stop: int | None = None) -> Iterator[NDArray[np.float32]]:
            yield from super().slices(0, 7)

    with pytest.raises(InputError, match="7 slices were read where 9") as caught:
        cascade.predict(Short(9))
    assert caught.value.code == "truncated"


def test_progress_is_told_in_slices(cascade: VolumeCascade) -> None:
    reported: list[tuple[int, int]] = []
    cascade.predict(hand_volume(20), on_slices=lambda done, total: reported.append((done, total)))
    assert reported == [(8, 20), (16, 20), (20, 20)]


def test_reading_ahead_keeps_order_and_bounds() -> None:
    taken: list[int] = []
    lock = threading.Lock()

    def items() -> Iterator[int]:
        for k in range(50):
            with lock:
                taken.append(k)
            yield k

    reading = prefetch(items(), 4)
    for expected in range(10):
        assert next(reading) == expected
        time.sleep(0.001)
        assert len(taken) <= expected + 1 + 4 + 1
    reading.close()
    assert len(taken) <= 16


def test_what_a_reader_raises_comes_where_the_slice_would() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise InputError("slice 2 is damaged", code="damaged")

    reading = prefetch(items(), 4)
    assert next(reading) == 1
    with pytest.raises(InputError, match="slice 2"):
        next(reading)
