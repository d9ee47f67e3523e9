"""A whole run from Python: make films, predict a folder, measure it, make its page.

    python examples/04_evaluate_a_run.py

Twelve phantoms stand in for a data set; a folder of the SIIM-ACR challenge has the same layout.
"""

from __future__ import annotations

from pathlib import Path

from pneumoseg.evaluation.run import EvaluateSettings, evaluation_rows, run_evaluate
from pneumoseg.phantom import PhantomSettings, run_phantom
from pneumoseg.prediction.local import PredictSettings, run_predict
from pneumoseg.prediction.page import write_run_page

OUT = Path("outputs/examples/04")
FIRST_SEED = 7300


def main() -> None:
    """Make, predict, measure, show."""
    films = run_phantom(PhantomSettings(OUT / "films", count=12, seed=FIRST_SEED))
    print(f"{len(films.rows)} films, {films.positives} with pneumothorax")

    results = OUT / "results"
    # A run that is finished is not done again; one that was stopped goes on where it was.
    summary = run_predict(PredictSettings((films.out / "dicom",), results, masks=True))
    print(f"{summary.read} read, {summary.failed} failed, {summary.suspected} suspected")

    evaluation = run_evaluate(EvaluateSettings(results, films.masks, table=films.truth))
    for row in evaluation_rows(evaluation):
        print("".join(f"{cell:>26}" if k == 0 else f"{cell:>18}" for k, cell in enumerate(row)))

    page, _ = write_run_page(results, masks=films.masks, title="Twelve phantoms")
    print(f"page: {page}")


if __name__ == "__main__":  # films are made by processes that import this file again
    main()
