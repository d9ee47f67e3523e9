"""The cascade on a bundle whose answers can be worked out by hand (see tiny_bundle)."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

import pneumoseg
from pneumoseg.bundle import Bundle
from pneumoseg.calibration import Calibration
from pneumoseg.errors import BundleError, InputError, UsageError
from pneumoseg.pipeline_inference import LARGEST_BATCH, Cascade, PipelineConfig
from pneumoseg.runtime import Network
from pneumoseg.study import Image, Modality, Side, Source, Units
from tiny_bundle import write_tiny_bundle, write_tiny_ct_bundle

SQUARE = (slice(100, 140), slice(50, 100))
"""2,000 white pixels: mean x = -1 + 2 * 2000 / 512**2, so the logit is 98 - 100 + 1.5259."""
SQUARE_LOGIT = -2.0 + 200 * 2000 / 512**2


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="module")
def cascade(bundle: Bundle) -> Cascade:
    return Cascade.load(bundle.folder, threads=1)


def film(shape: tuple[int, int] = (512, 512), name: str = "film", **source: object) -> Image:
    spacing = (0.5, 0.25)
    return Image(np.zeros(shape, np.float32), Units.UNIT_INTERVAL, spacing, Source(name, **source))


def with_square(image: Image, square: tuple[slice, slice] = SQUARE) -> Image:
    pixels = image.pixels.copy()
    pixels[square] = 1.0
    return dataclasses.replace(image, pixels=pixels)


class Counting:
    """A network that remembers the sizes of its batches."""

    def __init__(self, network: Network) -> None:
        self.network, self.batches = network, []

    def __getattr__(self, name: str) -> object:
        return getattr(self.network, name)

    def run(self, batch: np.ndarray) -> np.ndarray:
        self.batches.append(len(batch))
        return self.network.run(batch)


def test_an_unsuspected_film_has_no_mask(cascade: Cascade) -> None:
    """None says that stage two was not run; an empty mask would say that it found nothing."""
    finding = cascade.predict(film())
    assert finding.detection.logit == pytest.approx(-2.0, abs=1e-3)
    assert finding.detection.probability == pytest.approx(1 / (1 + math.exp(2.0)), abs=1e-4)
    assert finding.detection.threshold == 0.35
    assert not finding.detection.positive
    assert finding.mask is None
    assert finding.lesions == ()


def test_a_suspected_film_is_outlined_on_its_own_grid(cascade: Cascade) -> None:
    finding = cascade.predict(with_square(film()))
    assert finding.detection.logit == pytest.approx(SQUARE_LOGIT, abs=1e-3)
    assert finding.detection.positive
    expected = np.zeros((512, 512), np.bool_)
    expected[SQUARE] = True
    np.testing.assert_array_equal(finding.mask.pixels, expected)
    assert finding.mask.area_mm2 == pytest.approx(2000 * 0.125)
    (lesion,) = finding.lesions
    assert lesion.side is Side.RIGHT  # columns 50 to 100: the viewer's left
    assert lesion.score == pytest.approx(1.0, abs=1e-6)


def test_a_wide_film_comes_back_from_its_letterbox(cascade: Cascade) -> None:
    """256×512 lies in grid rows 128 to 384; a mask still on the grid would be 128 rows too low."""
    finding = cascade.predict(with_square(film((256, 512))))
    rows, cols = np.nonzero(finding.mask.pixels)
    assert finding.shape == finding.mask.pixels.shape == (256, 512)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (100, 139, 50, 99)


def test_min_pixels_counts_grid_pixels(bundle: Bundle) -> None:
    """At 1024×1024 a grid pixel is four: 60×60 = 3,600 film pixels are 900 of the grid."""
    image = with_square(film((1024, 1024)), (slice(200, 260), slice(100, 160)))
    options = {"classifier_threshold": 0.0, "threads": 1}
    kept = Cascade.load(bundle.folder, min_pixels=890, **options).predict(image)
    dropped = Cascade.load(bundle.folder, min_pixels=910, **options).predict(image)
    assert kept.mask.area_px == pytest.approx(3600, abs=120)  # the edge is bilinear
    assert dropped.mask.area_px == 0
    assert dropped.mask is not None


def test_the_triplet_rule_counts_grid_pixels_too(bundle: Bundle) -> None:
    """The same square: about 900 grid pixels reach 0.9."""
    image = with_square(film((1024, 1024)), (slice(200, 260), slice(100, 160)))
    options = {"classifier_threshold": 0.0, "threads": 1, "top_threshold": 0.9}
    kept = Cascade.load(bundle.folder, top_min_pixels=840, **options).predict(image)
    emptied = Cascade.load(bundle.folder, top_min_pixels=960, **options).predict(image)
    assert kept.mask.area_px > 3000
    assert emptied.mask.area_px == 0
    assert emptied.lesions == ()


def test_keywords_replace_the_card_and_the_card_the_defaults(tmp_path: Path) -> None:
    config = PipelineConfig(0.2, 0.6, 77)
    folder = write_tiny_bundle(tmp_path / "tiny", config=config).folder
    assert Cascade.load(folder).config == config
    requested = Cascade.load(folder, classifier_threshold=0.0, min_pixels=0).config
    assert requested == PipelineConfig(0.0, 0.6, 0)  # 0 is a value, not «not given»
    with pytest.raises(UsageError, match="classifier_threshold must lie between 0 and 1"):
        Cascade.load(folder, classifier_threshold=1.5)


def test_the_leaderboard_point_is_the_cards_other_one(tmp_path: Path) -> None:
    screening, leaderboard = PipelineConfig(0.2, 0.6, 77), PipelineConfig(0.7, 0.6, 77)
    folder = write_tiny_bundle(tmp_path / "tiny", config=screening, leaderboard=leaderboard).folder
    assert Cascade.load(folder).config == screening
    assert Cascade.load(folder, operating_point="leaderboard").config == leaderboard
    one = Cascade.load(folder, operating_point="leaderboard", min_pixels=5).config
    assert one == PipelineConfig(0.7, 0.6, 5)


def test_a_bundle_without_a_leaderboard_point_says_so(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="no operating point 'leaderboard'; choose screening"):
        Cascade.load(bundle.folder, operating_point="leaderboard")


def test_the_probability_is_calibrated_before_it_is_judged(tmp_path: Path) -> None:
    """A bias of 3 turns the black film's -2 into +1: suspected, though its logit is negative."""
    folder = write_tiny_bundle(
        tmp_path / "tiny", calibration=Calibration("temperature", 1.0, 3.0)
    ).folder
    detection = Cascade.load(folder, threads=1).predict(film()).detection
    assert detection.logit == pytest.approx(-2.0, abs=1e-3)
    assert detection.probability == pytest.approx(1 / (1 + math.exp(-1.0)), abs=1e-4)
    assert detection.positive


def test_a_batch_gives_what_single_films_give_in_order(cascade: Cascade) -> None:
    """Mixed sizes, positive and negative: nothing may slip by one between the stages."""
    images = [
        with_square(film(name="a")),
        film((300, 400), name="b"),
        with_square(film((256, 512), name="c")),
        film(name="d"),
        with_square(film(name="e"), (slice(300, 360), slice(400, 460))),
    ]
    together = cascade.predict_batch(images)
    assert [finding.source.image_id for finding in together] == list("abcde")
    for image, finding in zip(images, together, strict=True):
        alone = cascade.predict(image)
        assert finding.detection.logit == pytest.approx(alone.detection.logit, abs=1e-4)
        assert (finding.mask is None) == (alone.mask is None)
        if alone.mask is not None:
            np.testing.assert_array_equal(finding.mask.pixels, alone.mask.pixels)


def test_stage_two_sees_only_the_suspected_and_batches_are_bounded(cascade: Cascade) -> None:
    """38 films, every second suspected: batches of 16, 16, 6, and stage two half of each."""
    classifier, segmenter = Counting(cascade.classifier), Counting(cascade.segmenter)
    counted = dataclasses.replace(cascade, classifier=classifier, segmenter=segmenter)
    images = [film(), with_square(film())] * 19
    findings = counted.predict_batch(images)
    assert len(findings) == 38
    assert classifier.batches == [LARGEST_BATCH, LARGEST_BATCH, 6]
    assert segmenter.batches == [8, 8, 3]
    segmenter.batches.clear()
    assert counted.predict(film()).mask is None
    assert segmenter.batches == []


@pytest.mark.parametrize("gate", ["hard", "soft", "off"])
def test_the_gate(gate: str, bundle: Bundle) -> None:
    """A square of 900 pixels is not suspected (p 0.22), but the segmenter would outline it.

    Its map is 1 inside: scaled by 0.22 it stays below 0.5 and above 0.2.
    """
    image = with_square(film(), (slice(100, 130), slice(50, 80)))
    strict = Cascade.load(bundle.folder, threads=1, gate=gate).predict(image)
    lenient = Cascade.load(bundle.folder, threads=1, gate=gate, segmenter_threshold=0.2).predict(
        image
    )
    assert strict.detection.probability == pytest.approx(1 / (1 + math.exp(1.3134)), abs=1e-3)
    assert not strict.detection.positive
    areas = [None if one.mask is None else one.mask.area_px for one in (strict, lenient)]
    assert areas == {"hard": [None, None], "soft": [0, 900], "off": [900, 900]}[gate]


def test_an_unknown_gate_is_refused(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="gate must be hard, soft or off, got 'ajar'"):
        Cascade.load(bundle.folder, gate="ajar")


def test_nothing_in_nothing_out(cascade: Cascade) -> None:
    assert cascade.predict_batch([]) == []


def test_the_probability_map_is_kept_on_demand_only(cascade: Cascade) -> None:
    image = with_square(film((256, 512)))
    assert cascade.predict(image).probability_map is None
    (finding,) = cascade.predict_batch([image], keep_probability_map=True)
    assert finding.probability_map.shape == (256, 512)
    assert finding.probability_map[120, 75] == pytest.approx(1.0, abs=1e-6)
    assert finding.probability_map[0, 0] == pytest.approx(0.0, abs=1e-6)


def test_the_finding_says_what_made_it(cascade: Cascade) -> None:
    provenance = cascade.predict(film()).provenance
    assert (provenance.bundle, provenance.bundle_version) == ("tiny", "1.2")
    assert provenance.software_version == pneumoseg.__version__
    assert (provenance.runtime, provenance.precision) == ("openvino", "f32")
    assert cascade.predict(film()).seconds > 0


CT = Image(np.zeros((3, 64, 64), np.float32), Units.HU, None, Source("ct", modality=Modality.CT))


@pytest.mark.parametrize(
    "image",
    [
        CT,
        dataclasses.replace(CT, units=Units.UNIT_INTERVAL),
        dataclasses.replace(CT, pixels=CT.pixels[0]),
        film(modality=Modality.CT),
    ],
    ids=["ct", "volume", "slice in HU", "slice scaled to the unit interval"],
)
def test_an_xray_bundle_refuses_ct(image: Image, cascade: Cascade) -> None:
    with pytest.raises(InputError, match="reads X-rays") as caught:
        cascade.predict_batch([film(), image])
    assert caught.value.code == "wrong-modality"


def test_a_ct_bundle_is_not_run_on_xrays(tmp_path: Path) -> None:
    folder = write_tiny_ct_bundle(tmp_path / "tiny").folder
    with pytest.raises(BundleError, match="made for ct"):
        Cascade.load(folder).predict(film())


def test_networks_of_another_size_than_the_card_says_are_refused(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny", network_size=256).folder
    with pytest.raises(BundleError, match="says inputs of 512 and 512 pixels"):
        Cascade.load(folder)


def test_a_smaller_network_gives_a_mask_on_the_film(tmp_path: Path) -> None:
    """Networks at 256 on a film of 512: the card's size is followed, the square stays in place."""
    folder = write_tiny_bundle(
        tmp_path / "tiny", network_size=256, classifier_size=256, segmenter_size=256
    ).folder
    finding = Cascade.load(folder, threads=1).predict(with_square(film()))
    rows, cols = np.nonzero(finding.mask.pixels)
    assert abs(rows.mean() - 119.5) < 0.5
    assert abs(cols.mean() - 74.5) < 0.5
    assert finding.mask.area_px == pytest.approx(2000, rel=0.05)


def test_a_logit_that_is_not_a_number_is_an_error(cascade: Cascade) -> None:
    class Broken(Counting):
        def run(self, batch: np.ndarray) -> np.ndarray:
            return np.full((len(batch), 1), np.nan, np.float32)

    broken = dataclasses.replace(cascade, classifier=Broken(cascade.classifier))
    with pytest.raises(BundleError, match="not a number"):
        broken.predict(film())


def test_the_image_is_left_as_it_was(cascade: Cascade) -> None:
    image = with_square(film())
    before = image.pixels.copy()
    cascade.predict(image)
    np.testing.assert_array_equal(image.pixels, before)
