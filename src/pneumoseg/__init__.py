"""CT-PneumoSeg: a two-stage cascade that finds pneumothorax and outlines it. Research use only.

The three names most programs need are here; importing them costs nothing until they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pneumoseg.version import __version__

__all__ = ["Cascade", "PipelineConfig", "__version__", "read"]

if TYPE_CHECKING:
    from pneumoseg.pipeline_inference import Cascade
    from pneumoseg.reading import read
    from pneumoseg.settings import PipelineConfig


def __getattr__(name: str) -> object:
    """Import the public names on first use: ``import pneumoseg`` stays instant (PEP 562)."""
    if name == "Cascade":
        from pneumoseg.pipeline_inference import Cascade

        return Cascade
    if name == "read":
        from pneumoseg.reading import read

        return read
    if name == "PipelineConfig":
        from pneumoseg.settings import PipelineConfig

        return PipelineConfig
    raise AttributeError(f"module 'pneumoseg' has no attribute {name!r}")
