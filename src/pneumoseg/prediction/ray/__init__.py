"""``pneumoseg predict --engine ray``: the same run over many workers, on one machine or a cluster.

    listing ─► manifest ─► segments ─► Ray Data ─► workers: read, both stages, outline
                                                     │ outcomes, in the manifest's order
    Parquet parts ◄─ journal ◄─ driver ◄─────────────┘
                        └─► the same CSVs as the local engine

The folder, its lock, manifest and journal are those of :mod:`pneumoseg.prediction.run_folder` and
:mod:`pneumoseg.prediction.run`: workers only compute, one process writes. So a folder that one
engine left unfinished may be finished by the other. The extra ``pneumoseg[ray]`` is imported when
the engine is asked for, not before.
"""

from pneumoseg.prediction.ray.run import run_archive

__all__ = ["run_archive"]
