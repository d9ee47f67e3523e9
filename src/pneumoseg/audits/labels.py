"""Where labels disagree with other sources, ranked: the likeliest errors are read first.

A label can be contradicted by another label of the same film (a report's words, another reader,
another model) and by the classifier itself, provided that it never trained on the film (Northcutt
et al. 2021). Neither is proof: the list says what to read again, and why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoseg.audits.page import Audit, Panel
from pneumoseg.audits.scores import (
    ORIGINAL,
    AuditSettings,
    FilmProgress,
    Scores,
    StageOne,
    score_films,
)
from pneumoseg.errors import DataError, UsageError
from pneumoseg.evaluation.labelled_films import LabelledFilm, read_labelled_films
from pneumoseg.reading.siim_csv import read_columns, strip_image_suffix
from pneumoseg.settings import at_least
from pneumoseg.statistics.paired import FilmEstimator
from pneumoseg.storage.result import write_csv, writing_results

AUDIT = "labels"
REREAD_FILE = "labels_to_reread.csv"
MODEL = "the classifier"
_CONDITION = re.compile(r"(?P<file>.+):(?P<column>[^:=<>]+?)(?P<sign>>=|=)(?P<value>[^=<>]+)")
_WORDS = re.compile(r"[|;,]")
_SURPRISE_FLOOR = 1e-4


@dataclass(frozen=True)
class LabelsAuditSettings(AuditSettings):
    """Settings of ``pneumoseg audit labels``; choose films the bundle never trained on."""

    others: tuple[str, ...] = ()
    """Other sources: FILE:COLUMN=WORD (a word among the cell's) or FILE:COLUMN>=NUMBER."""
    longest_list: int = 100
    """Most films in the list for re-reading."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for text in self.others:
            parse_source(text)
        at_least("longest_list", self.longest_list, 1)


@dataclass(frozen=True)
class LabelSource:
    """Another source of labels: a column of a CSV, and when its cell says pneumothorax."""

    path: Path
    column: str
    word: str = ""
    """The cell says it when this is one of its words (split at | ; ,), whatever the case."""
    least: float | None = None
    """Or when its number is at least this."""

    @property
    def name(self) -> str:
        """File and column."""
        return f"{self.path.name} {self.column}"

    def says(self, cell: str) -> bool | None:
        """What a cell says; None where it is empty.

        Raises:
            ValueError: not a number where one is expected.
        """
        text = cell.strip()
        if not text:
            return None
        if self.least is not None:
            return float(text) >= self.least
        return self.word.lower() in {word.strip().lower() for word in _WORDS.split(text)}


@dataclass(frozen=True)
class RereadRow:
    """One line of ``labels_to_reread.csv``; the fields are its columns."""

    rank: int
    image_id: str
    patient_id: str
    label: int
    sources_against: int
    probability: float
    surprise_nats: float
    reason: str


def parse_source(text: str) -> LabelSource:
    """Read ``FILE:COLUMN=WORD`` or ``FILE:COLUMN>=NUMBER``.

    Raises:
        UsageError: neither of the two.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise UsageError(
            f"another source is given as FILE:COLUMN=WORD or FILE:COLUMN>=NUMBER, got {text!r}"
        )
    path, column, value = Path(match["file"]), match["column"].strip(), match["value"].strip()
    if match["sign"] == "=":
        return LabelSource(path, column, word=value)
    try:
        return LabelSource(path, column, least=float(value))
    except ValueError as error:
        raise UsageError(f"{text!r}: {value!r} is not a number") from error


def read_source(source: LabelSource) -> dict[str, bool]:
    """Read what another source says of each image; empty cells are left out.

    Raises:
        UsageError: the file cannot be opened.
        DataError: not such a CSV, a cell that is no number, an image listed twice.
    """
    labels: dict[str, bool] = {}
    for line, (name, cell) in read_columns(source.path, ("image_id", source.column)):
        image_id = strip_image_suffix(name)
        try:
            vote = source.says(cell)
        except ValueError as error:
            raise DataError(
                f"{source.path}, line {line}: expected a number in {source.column}, got {cell!r}"
            ) from error
        if vote is None:
            continue
        if image_id in labels:
            raise DataError(f"{source.path}, line {line}: image {image_id} is listed twice")
        labels[image_id] = vote
    return labels


def run_labels_audit(
    settings: LabelsAuditSettings, on_progress: FilmProgress | None = None
) -> tuple[Audit, tuple[RereadRow, ...]]:
    """Compare labels with other sources and with the classifier, and rank the disagreements.

    Raises:
        BundleError: no such bundle.
        UsageError: a file is missing.
        DataError: films and truth do not fit, a source knows none of the films, or films are of
            one class.
    """
    sources = {}
    for source in map(parse_source, settings.others):
        sources[source.name] = read_source(source)
    stage_one = StageOne.load(settings.bundle, settings.threads)
    scores = score_films(read_labelled_films(settings), stage_one, _no_change, on_progress)
    votes_by = {name: _align(name, labels, scores) for name, labels in sources.items()}
    votes_by[MODEL] = (_as_many_positives(scores), np.ones_like(scores.label))
    by_film = scores.estimator(settings.seed, settings.repeats)
    panels = _panels(by_film, votes_by)
    rows = rank(scores, {name: votes_by[name] for name in sources})[: settings.longest_list]
    counts = {name: _counts(scores.label, *votes) for name, votes in votes_by.items()}
    facts = {
        "films": int(scores.label.size),
        "counts": counts,
        "where": list(settings.where),
        "seed": settings.seed,
        "repeats": settings.repeats,
    }
    return Audit(AUDIT, stage_one.title, panels, _sentences(panels, counts), facts), rows


def write_reread(rows: tuple[RereadRow, ...], folder: Path) -> Path:
    """Write ``labels_to_reread.csv``, whole or not at all; returns its path.

    Raises:
        UsageError: the folder cannot be written.
    """
    path = folder / REREAD_FILE
    names = [field.name for field in fields(RereadRow)]
    with writing_results(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(path, names, (astuple(row) for row in rows))
    return path


Votes = tuple[NDArray[np.bool_], NDArray[np.bool_]]
"""What a source says of each film (n,), and of which films it says anything (n,)."""


def rank(scores: Scores, others: Mapping[str, Votes]) -> tuple[RereadRow, ...]:
    """Films whose label something speaks against, the most contradicted first.

    First by the number of other sources against the label, then by the classifier's surprise: the
    negative logarithm of the probability that it gives to the label as it is. Films that no source
    speaks against are ranked too, where the classifier gives their label less than one half.
    """
    label, probability = scores.label, scores.probability[ORIGINAL]
    given = np.where(label, probability, 1.0 - probability)
    surprise = -np.log(np.maximum(given, _SURPRISE_FLOOR))
    against = np.zeros(label.size, dtype=np.int64)
    for votes, known in others.values():
        against += known & (votes != label)
    order = np.lexsort((scores.image_id, -surprise, -against))
    listed = [int(i) for i in order if against[i] or given[i] < 0.5]
    return tuple(
        RereadRow(
            rank=place,
            image_id=str(scores.image_id[i]),
            patient_id=str(scores.patient[i]),
            label=int(label[i]),
            sources_against=int(against[i]),
            probability=round(float(probability[i]), 4),
            surprise_nats=round(float(surprise[i]), 3),
            reason=_reason(i, scores, others),
        )
        for place, i in enumerate(listed, start=1)
    )


def _reason(film: int, scores: Scores, others: Mapping[str, Votes]) -> str:
    label = bool(scores.label[film])
    word = {True: "pneumothorax", False: "none"}
    reasons = [f"the label says {word[label]}"]
    for name, (votes, known) in others.items():
        if known[film]:
            reasons.append(f"{name} says {word[bool(votes[film])]}")
    reasons.append(f"the classifier's probability is {scores.probability[ORIGINAL][film]:.3f}")
    logit, same = scores.logit[ORIGINAL], scores.label == label
    beyond = same & ((logit < logit[film]) if label else (logit > logit[film]))
    reasons.append(
        f"{'lower' if label else 'higher'} in {int(beyond.sum())} of the other "
        f"{int(same.sum()) - 1} films with that label"
    )
    return "; ".join(reasons)


def _no_change(_film: LabelledFilm) -> Mapping[str, NDArray[np.uint8]]:
    return {}


def _align(name: str, labels: Mapping[str, bool], scores: Scores) -> Votes:
    known = np.array([image_id in labels for image_id in scores.image_id], dtype=np.bool_)
    if not known.any():
        raise DataError(
            f"{name} knows none of the {scores.label.size} films; is it of another data set?"
        )
    votes = [labels.get(str(image_id), False) for image_id in scores.image_id]
    return np.array(votes, dtype=np.bool_), known


def _as_many_positives(scores: Scores) -> NDArray[np.bool_]:
    """The classifier's word where it may say positive as often as the labels do."""
    logit = scores.logit[ORIGINAL]
    return np.asarray(logit >= np.sort(logit)[-int(scores.label.sum())], dtype=np.bool_)


def kappa(label: NDArray[np.bool_], votes: NDArray[np.bool_]) -> float | None:
    """Cohen's kappa: agreement beyond chance, 1 at most (Cohen 1960).

    Args:
        label: bool (n,).
        votes: bool (n,).

    Returns:
        None where both say the same of all films, and agreement by chance is complete.
    """
    if not label.size:
        return None
    agreed = float((label == votes).mean())
    p, q = float(label.mean()), float(votes.mean())
    by_chance = p * q + (1 - p) * (1 - q)
    return None if by_chance >= 1.0 else (agreed - by_chance) / (1 - by_chance)


def _counts(
    label: NDArray[np.bool_], votes: NDArray[np.bool_], known: NDArray[np.bool_]
) -> dict[str, int]:
    return {
        "both_positive": int((known & label & votes).sum()),
        "only_label_positive": int((known & label & ~votes).sum()),
        "only_source_positive": int((known & ~label & votes).sum()),
        "both_negative": int((known & ~label & ~votes).sum()),
        "unknown_to_source": int((~known).sum()),
    }


def _panels(by_film: FilmEstimator, votes_by: Mapping[str, Votes]) -> tuple[Panel, ...]:
    label = by_film.label

    def agreement(votes: NDArray[np.bool_]) -> Callable[[NDArray[np.int64]], float | None]:
        return lambda films: kappa(label[films], votes[films])

    disagreement = {
        name: (label != votes).astype(np.float64) for name, (votes, _) in votes_by.items()
    }
    return (
        Panel(
            "Cohen's kappa with the labels",
            tuple(
                by_film.by_index(name, agreement(votes), known, "one class only")
                for name, (votes, known) in votes_by.items()
            ),
            0.0,
        ),
        Panel(
            "share of films on which it disagrees",
            tuple(
                by_film.mean(f"{name}, {kind}", disagreement[name], known & over)
                for name, (_, known) in votes_by.items()
                for kind, over in (("label positive", label), ("label negative", ~label))
            ),
        ),
    )


def _sentences(
    panels: tuple[Panel, ...], counts: Mapping[str, Mapping[str, int]]
) -> tuple[str, ...]:
    lines = []
    for figure in panels[0].figures:
        count = counts[figure.name]
        lines.append(
            f"{figure.name}: kappa {figure.with_n()}; {count['only_label_positive']} films are "
            f"positive by the label alone, {count['only_source_positive']} by it alone."
        )
    lines.append(
        f"{MODEL.capitalize()} is taken to say pneumothorax of as many films as the labels do; it "
        "tells something only of films that it never trained on."
    )
    return tuple(lines)
