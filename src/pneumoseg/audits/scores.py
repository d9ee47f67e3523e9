"""Stage one on films and on changed copies of them.

An audit changes something that is no disease (a tube, a border, a file's history), runs the
classifier again, and compares film by film (:mod:`pneumoseg.statistics.paired`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pneumoseg.bundle import Bundle, load_bundle
from pneumoseg.errors import DataError
from pneumoseg.evaluation.labelled_films import FilmSet, LabelledFilm
from pneumoseg.metrics import BOOTSTRAP_REPEATS
from pneumoseg.preprocess import to_grid
from pneumoseg.runtime import Network, load_network, run_on_grids
from pneumoseg.settings import at_least
from pneumoseg.statistics.paired import FilmEstimator
from pneumoseg.study import Image, Modality

ORIGINAL = "as it is"
"""Name of the unchanged film among its variants."""
LARGEST_BATCH = 16

Variants = Callable[[LabelledFilm], Mapping[str, NDArray[np.uint8]]]
"""From a film to changed copies of it on the 512×512 grid, the same names for every film."""
FilmProgress = Callable[[int], None]
"""Called with the number of films done."""


@dataclass(frozen=True)
class AuditSettings(FilmSet):
    """What every audit on labelled films has in common."""

    out: Path = Path("outputs/audit")
    """Folder for the JSON file and the picture."""
    bundle: str = "cxr"
    """Shipped bundle by name, or a bundle's folder."""
    threads: int | None = None
    """Processor threads of the network; all cores when not given."""
    seed: int = 0
    """Seed of everything drawn; the same seed gives the same figures."""
    repeats: int = BOOTSTRAP_REPEATS
    """Number of bootstrap resamples."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_draws(self.seed, self.repeats)


def check_draws(seed: int, repeats: int) -> None:
    """Refuse what no bootstrap can be made of.

    Raises:
        UsageError: a negative seed, or fewer than one resample.
    """
    at_least("seed", seed, 0)
    at_least("repeats", repeats, 1)


@dataclass(frozen=True)
class StageOne:
    """The classifier of a bundle by itself: an audit of it needs no segmenter."""

    bundle: Bundle
    network: Network

    @classmethod
    def load(cls, bundle: str | Path, threads: int | None = None) -> StageOne:
        """Load the classifier in OpenVINO, f32.

        Raises:
            BundleError: no such bundle, it is damaged, or it is not made for X-rays.
        """
        opened = load_bundle(bundle)
        opened.require(Modality.XRAY)
        network = load_network(
            opened.classifier_path, runtime="openvino", precision="f32", threads=threads
        )
        return cls(opened, network)

    def logits(self, grids: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
        """Raw outputs of any number of uint8 grids (512, 512): float64 (n,)."""
        norm, mirror = self.bundle.card.normalisation, self.bundle.card.config.mirror
        found = [
            run_on_grids(self.network, grids[i : i + LARGEST_BATCH], norm, mirror=mirror)[:, 0]
            for i in range(0, len(grids), LARGEST_BATCH)
        ]
        return np.concatenate(found).astype(np.float64)

    def probabilities(self, logits: ArrayLike) -> NDArray[np.float64]:
        """The card's calibration: what a reader is shown."""
        return self.bundle.card.calibration.apply(logits)

    @property
    def title(self) -> str:
        """Name and version of the bundle."""
        return f"{self.bundle.card.name} {self.bundle.card.version}"


@dataclass(frozen=True, eq=False)
class Scores:
    """What stage one predicts of each film and of each changed copy of it.

    Attributes:
        image_id: (n,) names.
        patient: (n,) patients, whose films are resampled together.
        label: bool (n,).
        logit: variant -> float64 (n,); one of them is ``ORIGINAL``.
        probability: the same, calibrated.
    """

    image_id: NDArray[np.str_]
    patient: NDArray[np.str_]
    label: NDArray[np.bool_]
    logit: Mapping[str, NDArray[np.float64]]
    probability: Mapping[str, NDArray[np.float64]]

    def estimator(self, seed: int, repeats: int) -> FilmEstimator:
        """Makes estimates of these films."""
        return FilmEstimator(self.label, self.patient, seed, repeats)

    def change(self, variant: str, before: str = ORIGINAL) -> NDArray[np.float64]:
        """Change of probability of each film, (n,)."""
        return self.probability[variant] - self.probability[before]


def score_films(
    films: Iterable[LabelledFilm],
    stage_one: StageOne,
    variants: Variants,
    on_progress: FilmProgress | None = None,
) -> Scores:
    """Run stage one on films and their variants, one film in memory at a time.

    Args:
        films: as :func:`pneumoseg.evaluation.labelled_films.read_labelled_films` reads them.
        stage_one: the classifier.
        variants: makes the copies; the unchanged film is added under ``ORIGINAL``.
        on_progress: called after each film.

    Raises:
        DataError: the films are of one class, so that nothing can be separated.
    """
    names: list[tuple[str, str, bool]] = []
    logits: dict[str, list[float]] = {}
    for film in films:
        copies = {ORIGINAL: to_grid(film.image)[0], **variants(film)}
        # a change that leaves this film as it is need not be run again
        different = {grid.tobytes(): grid for grid in copies.values()}
        logit_of = dict(zip(different, stage_one.logits(list(different.values())), strict=True))
        for variant, grid in copies.items():
            logits.setdefault(variant, []).append(float(logit_of[grid.tobytes()]))
        names.append((film.image_id, film.patient_id, film.label))
        if on_progress is not None:
            on_progress(len(names))
    label = np.array([row[2] for row in names], dtype=np.bool_)
    if label.all() or not label.any():
        raise DataError(
            f"an audit needs films with and without pneumothorax, got {int(label.sum())} positive "
            f"of {label.size}; choose films of both kinds"
        )
    logit = {variant: np.array(values) for variant, values in logits.items()}
    return Scores(
        image_id=np.array([row[0] for row in names]),
        patient=np.array([row[1] for row in names]),
        label=label,
        logit=logit,
        probability={name: stage_one.probabilities(values) for name, values in logit.items()},
    )


def film_pixels(image: Image) -> NDArray[np.uint8]:
    """A film's own pixels in 8 bits (rows, cols): what is written into an image file."""
    return np.asarray(np.rint(image.pixels * np.float32(255.0)), dtype=np.uint8)
