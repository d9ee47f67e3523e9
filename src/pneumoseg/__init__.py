"""CT-PneumoSeg: a two-stage cascade that finds pneumothorax and outlines it. Research use only.

What is public is here, name by name (docs/reference.md, «Public API»); of the modules only ``rle``,
``metrics`` and ``phantom`` are. Importing the package costs nothing: each name is imported when it
is used (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pneumoseg.version import __version__

if TYPE_CHECKING:
    from pneumoseg import metrics, phantom, rle
    from pneumoseg.ct.inference import VolumeCascade
    from pneumoseg.errors import (
        BundleError,
        DataError,
        InputError,
        PneumosegError,
        RunLengthError,
        RuntimeUnavailableError,
        UsageError,
    )
    from pneumoseg.evaluation.run import EvaluateSettings
    from pneumoseg.evaluation.run import run_evaluate as evaluate
    from pneumoseg.pipeline_inference import Cascade
    from pneumoseg.prediction.local import run_predict as predict
    from pneumoseg.prediction.settings import PredictSettings
    from pneumoseg.reading import read
    from pneumoseg.reading.volumes import VolumeInput, find_volumes, open_volume
    from pneumoseg.settings import PipelineConfig
    from pneumoseg.study import (
        Detection,
        Finding,
        Geometry,
        Image,
        Lesion,
        Mask,
        Modality,
        Provenance,
        Side,
        Source,
        Units,
        Volume,
    )

__all__ = [
    "BundleError",
    "Cascade",
    "DataError",
    "Detection",
    "EvaluateSettings",
    "Finding",
    "Geometry",
    "Image",
    "InputError",
    "Lesion",
    "Mask",
    "Modality",
    "PipelineConfig",
    "PneumosegError",
    "PredictSettings",
    "Provenance",
    "RunLengthError",
    "RuntimeUnavailableError",
    "Side",
    "Source",
    "Units",
    "UsageError",
    "Volume",
    "VolumeCascade",
    "VolumeInput",
    "__version__",
    "evaluate",
    "find_volumes",
    "metrics",
    "open_volume",
    "phantom",
    "predict",
    "read",
    "rle",
]

_ELSEWHERE = {
    "Cascade": "pipeline_inference:Cascade",
    "EvaluateSettings": "evaluation.run:EvaluateSettings",
    "PipelineConfig": "settings:PipelineConfig",
    "PredictSettings": "prediction.settings:PredictSettings",
    "VolumeCascade": "ct.inference:VolumeCascade",
    "VolumeInput": "reading.volumes:VolumeInput",
    "evaluate": "evaluation.run:run_evaluate",
    "find_volumes": "reading.volumes:find_volumes",
    "open_volume": "reading.volumes:open_volume",
    "predict": "prediction.local:run_predict",
    "read": "reading:read",
}
"""Module and name of what is neither a module, an error, nor a type of ``study``."""
_MODULES = ("metrics", "phantom", "rle")


def __getattr__(name: str) -> object:
    """Import a public name on first use and keep it."""
    if name not in __all__:
        raise AttributeError(f"module 'pneumoseg' has no attribute {name!r}")
    if name in _MODULES:
        return import_module(f"pneumoseg.{name}")
    home = "errors" if name.endswith("Error") else "study"
    module, _, inner = _ELSEWHERE.get(name, f"{home}:{name}").partition(":")
    found = globals()[name] = getattr(import_module(f"pneumoseg.{module}"), inner)
    return found


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted(__all__)
