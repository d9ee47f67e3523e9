"""A whole run from Python: make films, predict a folder, measure it.

    python examples/04_evaluate_a_run.py

Twelve phantoms stand in for a data set; a folder of the SIIM-ACR challenge has the same layout.
"""

from __future__ import annotations

from pathlib import Path

from pneumoseg import EvaluateSettings, PredictSettings, evaluate, predict
from pneumoseg.phantom import PhantomSettings, run_phantom

OUT = Path("outputs/examples/04")
FIRST_SEED = 7300


def main() -> None:
    """Make, predict, measure."""
    films = run_phantom(PhantomSettings(OUT / "films", count=12, seed=FIRST_SEED))
    print(f"{len(films.rows)} films, {films.positives} with pneumothorax")

    results = OUT / "results"
    # A run that is finished is not done again; one that was stopped goes on where it was.
    summary = predict(PredictSettings((films.out / "dicom",), results, masks=True))
    print(f"{summary.read} read, {summary.failed} failed, {summary.suspected} suspected")

    evaluation = evaluate(EvaluateSettings(results, films.masks, table=films.truth))
    for figure in evaluation.figures:
        value = figure.reason if figure.value is None else f"{figure.value:.3f}"
        print(f"{figure.name:>20}  {value}  of {figure.n}")
    print(f"pictures: {evaluation.folder}")
    print(f"a page of the films: pneumoseg page {results} --masks {films.masks}")


if __name__ == "__main__":  # films are made by processes that import this file again
    main()
