"""What ``pneumoseg predict`` is asked, what that comes to, and what it tells.

Settings and inputs, what was decided of them and must be the same when a run is resumed, progress,
summary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from pneumoseg.errors import UsageError
from pneumoseg.runtime import AUTO, Choice
from pneumoseg.settings import Gate, PointName
from pneumoseg.storage.record import MASKS, OVERLAYS
from pneumoseg.study import Modality
from pneumoseg.version import __version__

if TYPE_CHECKING:  # OpenVINO takes a second to import
    from pneumoseg.bundle import Bundle
    from pneumoseg.ct.inference import VolumeCascade
    from pneumoseg.pipeline_inference import Cascade

_OWN = {Modality.XRAY: ("masks",), Modality.CT: ("window_center", "window_width")}
"""Options that must be the same when a run of that modality is resumed."""

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class PredictSettings:
    """What ``pneumoseg predict`` is asked to do."""

    paths: tuple[Path, ...]
    """Files and folders; folders are walked, and files told apart by content, not by name."""
    out: Path = Path("outputs")
    """Folder for the results; a run that was stopped there is resumed."""
    bundle: str | None = None
    """Shipped bundle by name, or another's folder; None: cxr for X-rays, ct for CT."""
    modality: Literal["auto", "xray", "ct"] = "auto"
    """What the inputs are; auto: what the bundle is for, else what the first scan says it is."""
    operating_point: PointName | None = None
    """Of the bundle: screening (None: this one) misses almost none; leaderboard has the best SIIM
    mean Dice. The numbers below replace single ones."""
    classifier_threshold: float | None = None
    """Probability from which a film or slice is suspected; None takes the bundle's."""
    segmenter_threshold: float | None = None
    """Probability from which a pixel belongs to the mask; None takes the bundle's."""
    min_pixels: int | None = None
    """Smallest lesion kept, in pixels of the 512×512 grid; None takes the bundle's."""
    min_volume_ml: float | None = None
    """CT: smallest lesion kept, in mL, where the spacing is known; None takes the bundle's."""
    window_center: float | None = None
    """CT pictures: centre in HU of the window they were made with; None: the usual lung window."""
    window_width: float | None = None
    """CT pictures: width in HU of that window; given together with its centre."""
    top_threshold: float | None = None
    """A film's mask is emptied unless enough pixels reach this (0: never); None: the bundle's."""
    top_min_pixels: int | None = None
    """How many pixels of the 512×512 grid must reach top_threshold; None takes the bundle's."""
    gate: Gate | None = None
    """hard: segment only what is suspected; soft: all, the map scaled by stage one's probability;
    off: all; None takes the bundle's."""
    mirror: bool | None = None
    """Average both networks over each image and its mirror image, twice their time; None takes the
    bundle's."""
    overlays: bool = False
    """Also write each film with its outlined lesions; for CT, a montage and three planes."""
    masks: bool = False
    """Also write each film's mask on its own grid, as PNG (0 and 255); CT masks always are."""
    batch_size: int = 8
    """Films or slices the networks take at once; memory grows with it, results do not change."""
    threads: int | None = None
    """Processor threads of the networks; None takes all cores."""
    runtime: str = AUTO
    """What runs the networks: openvino, onnxruntime, torch, or auto for the best that is here."""
    device: str = AUTO
    """Where they run: cpu, cuda or auto."""
    streams: int | None = None
    """How many films OpenVINO computes at the same time; None: one a thread, up to 4."""
    precision: str = "f32"
    """Arithmetic of the networks, recorded in every result."""
    engine: Literal["local", "ray"] = "local"
    """local: this process; ray: workers on this machine or a Ray cluster, see docs/archive.md."""
    workers: int | None = None
    """Engine ray: processes that hold the networks, threads each; None: as many as fit."""
    gpus: float = 0.0
    """Engine ray: GPUs reserved for each worker; below 1 several share one."""
    ray_address: str | None = None
    """Engine ray: HOST:PORT of a cluster, or auto for one on this machine; None starts one."""
    overwrite: bool = False
    """Start anew where the folder holds an earlier run, instead of resuming it."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UsageError(f"batch_size must be 1 or more, got {self.batch_size}")
        for name in ("threads", "streams", "workers"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise UsageError(f"{name} must be 1 or more, got {count}")
        if self.engine == "local" and (self.workers or self.gpus or self.ray_address):
            raise UsageError(
                "workers, gpus and ray-address are for --engine ray; add it, or leave them out"
            )
        if (self.window_center is None) != (self.window_width is None):
            raise UsageError("give window-center and window-width together, or neither")
        if self.window_width is not None and not self.window_width > 0:
            raise UsageError(f"window_width must be more than 0 HU, got {self.window_width}")


class Inputs(Generic[_Item]):
    """Inputs that are listed once: the first may be looked at, and still come."""

    def __init__(self, listed: Iterable[_Item]) -> None:
        self._listed, self._seen = iter(listed), deque[_Item]()

    def look(self) -> Iterator[_Item]:
        """All inputs from the first on; what is looked at is kept until it is taken."""
        yield from tuple(self._seen)
        for item in self._listed:
            self._seen.append(item)
            yield item

    def __iter__(self) -> Iterator[_Item]:
        while self._seen:
            yield self._seen.popleft()
        yield from self._listed


@dataclass(frozen=True)
class Decided:
    """What a run is about.

    Attributes:
        modality: of the inputs that are used.
        settings: the call with bundle, runtime and device named.
        pictures: whether pictures are known to be of that modality.
        networks: what runs them, and why.
        bundle: the bundle, where it was opened to decide.
    """

    modality: Modality
    settings: PredictSettings
    pictures: bool
    networks: Choice
    bundle: Bundle | None = None


@dataclass(frozen=True)
class Progress:
    """Where a run stands, after each input; counts include what earlier calls did."""

    done: int
    total: int
    failed: int
    suspected: int
    path: str
    share: float = 0.0
    """Of the input in work, how much is done; it is not counted in ``done``."""


@dataclass(frozen=True)
class PredictionSummary:
    """What a run's folder now holds; counts include what earlier calls did."""

    read: int
    failed: int
    suspected: int
    with_lesion: int
    done_before: int
    """Inputs that an earlier call had finished."""
    seconds: float
    """Wall time of this call."""
    out: Path
    files: tuple[Path, ...]
    """The tables, the journal, and the folders of pictures that were asked for."""
    networks: Choice
    """What ran them."""

    @property
    def total(self) -> int:
        """Inputs of the run."""
        return self.read + self.failed

    @property
    def nothing_to_do(self) -> bool:
        """Whether earlier calls had finished every input."""
        return self.done_before == self.total

    @property
    def exit_code(self) -> int:
        """0 when every input was read, 1 when some failed."""
        return 1 if self.failed else 0


def picture_folders(settings: PredictSettings) -> tuple[str, ...]:
    """Names of the folders of films' pictures that were asked for."""
    asked = ((OVERLAYS, settings.overlays), (MASKS, settings.masks))
    return tuple(name for name, wanted in asked if wanted)


def own_results(settings: PredictSettings) -> Callable[[Path], bool]:
    """Tell the results of this very run from inputs, where they lie among them.

    Returns:
        A function that is true for a file in the run's own folder, unless it was given by name.
    """
    out = settings.out.resolve()
    given = {path.absolute() for path in settings.paths}
    inside = any(path.is_dir() and out.is_relative_to(path.resolve()) for path in settings.paths)

    def is_own_result(path: Path) -> bool:
        return inside and path.absolute() not in given and path.resolve().is_relative_to(out)

    return is_own_result


def check_out(settings: PredictSettings) -> None:
    """Refuse a folder for the results that cannot be one.

    Raises:
        UsageError: it is a file, or the input folder itself.
    """
    out = settings.out
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; give a folder for the results")
    if any(path.is_dir() and path.resolve() == out.resolve() for path in settings.paths):
        raise UsageError(f"--out {out} is the input folder itself; give a folder for the results")


def require_some(inputs: Inputs[_Item], settings: PredictSettings) -> None:
    """Refuse a call without inputs.

    Raises:
        UsageError: there is no file.
    """
    if next(inputs.look(), None) is None:
        raise UsageError(
            f"no file was found in {', '.join(map(str, settings.paths))}; "
            "give files, or folders that hold some"
        )


def signature(
    settings: PredictSettings,
    predictor: Cascade | VolumeCascade,
    modality: Modality,
    *,
    pictures: bool,
) -> dict[str, Any]:
    """What must be the same for a run to be resumed, by whichever engine."""
    return {
        "modality": modality.value,
        "paths": [str(path.resolve()) for path in settings.paths],
        "bundle": predictor.bundle.card.name,
        "bundle_version": str(predictor.bundle.card.version),
        "software_version": __version__,
        "runtime": settings.runtime,
        "device": settings.device,
        "precision": settings.precision,
        **asdict(predictor.config),
        "pictures": pictures,
        "overlays": settings.overlays,
        **{name: getattr(settings, name) for name in _OWN[modality]},
    }
