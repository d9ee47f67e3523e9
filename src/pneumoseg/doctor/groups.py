"""Films by side of a split, view, sex, age and size: who is on both sides, and prevalences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pneumoseg.doctor.duplicates import CERTAIN, Pair
from pneumoseg.doctor.findings import DataFinding, Example, finding, say
from pneumoseg.doctor.images import FilmFacts
from pneumoseg.doctor.origin import TraceFigure
from pneumoseg.statistics.proportions import wilson

FEWEST_FILMS = 20
"""Films a group needs before its prevalence is compared."""
TRACES_TELL = 0.65
"""AUROC whose lower bound says that a label can be had from the file alone."""
_OLDEST = 120
_AGE_BAND = 20


@dataclass(frozen=True, eq=False)
class Case:
    """A film with all that is known about it; None where unknown."""

    film: FilmFacts
    patient: str | None
    label: bool | None
    side: str | None
    """Word of the split column that is one of the sides compared."""
    facts: Mapping[str, str]

    @property
    def image_id(self) -> str:
        """Name of the film."""
        return self.film.image_id


@dataclass(frozen=True)
class Group:
    """Films with one value of one property."""

    by: str
    value: str
    films: int
    labelled: int
    positive: int
    patients: int
    prevalence: float | None
    """Share of the labelled films that are positive, with its 95 % interval; films counted."""
    low: float | None
    high: float | None


def groups_of(cases: Sequence[Case], split_column: str | None) -> tuple[Group, ...]:
    """Count films, positives and patients by side, view, sex, age band and size."""
    properties: list[tuple[str, Callable[[Case], str]]] = [
        ("view", lambda c: (c.facts.get("view") or c.film.view or "").upper()),
        ("sex", lambda c: c.facts.get("sex", "").upper()),
        ("age", lambda c: _age_band(c.facts.get("age", ""))),
        ("size", lambda c: f"{c.film.rows}×{c.film.cols}"),
    ]
    if split_column is not None:
        column = split_column
        properties.insert(0, (column, lambda c: c.facts.get(column, "")))
    made = [_group("all", "all", cases)]
    for name, value_of in properties:
        by_value: dict[str, list[Case]] = {}
        for case in cases:
            by_value.setdefault(value_of(case) or "unknown", []).append(case)
        if set(by_value) != {"unknown"}:
            made += [_group(name, value, by_value[value]) for value in sorted(by_value)]
    return tuple(made)


def _age_band(text: str) -> str:
    """A band of twenty years; DICOM's 045Y is read too."""
    digits = text.strip().upper().removesuffix("Y")
    if not digits.isdigit() or int(digits) > _OLDEST:
        return ""
    first = int(digits) // _AGE_BAND * _AGE_BAND
    return f"{first:02d} to {first + _AGE_BAND - 1:02d}"


def _group(by: str, value: str, cases: Sequence[Case]) -> Group:
    labels = [case.label for case in cases if case.label is not None]
    positive = sum(labels)
    low, high = wilson(positive, len(labels)) if labels else (None, None)
    return Group(
        by=by,
        value=value,
        films=len(cases),
        labelled=len(labels),
        positive=positive,
        patients=len({case.patient or case.image_id for case in cases}),
        prevalence=positive / len(labels) if labels else None,
        low=low,
        high=high,
    )


def patient_leaks(cases: Sequence[Case], sides: Sequence[str]) -> list[DataFinding]:
    """Patients with films on two sides of a split, and how many have no known patient."""
    by_patient: dict[str, list[Case]] = {}
    for case in cases:
        if case.patient is not None and case.side is not None:
            by_patient.setdefault(case.patient, []).append(case)
    shared = {p: own for p, own in by_patient.items() if len({c.side for c in own}) > 1}
    found = []
    if shared:
        films = sum(map(len, shared.values()))
        what = (
            f"{say(len(shared), 'patient has', 'patients have')} films on both sides of the split "
            f"({' and '.join(sides)}), {films} films in all"
        )
        ranked = sorted(shared.items(), key=lambda pair: (-len(pair[1]), pair[0]))
        listed = [
            Example(p, ", ".join(f"{sum(c.side == s for c in own)} {s}" for s in sides))
            for p, own in ranked
        ]
        found.append(finding("patient-on-both-sides", what, listed))
    unknown = [Example(case.image_id) for case in cases if case.patient is None]
    if unknown:
        what = f"of {len(unknown)} of {len(cases)} films the patient is not known"
        found.append(finding("patient-unknown", what, unknown))
    return found


def copies(
    cases: Sequence[Case], exact: Sequence[Sequence[int]], near: Sequence[Pair]
) -> list[DataFinding]:
    """Exact and near copies of one picture, and those that lie on two sides of a split.

    Args:
        cases: all films.
        exact: groups of indices with the same pixels.
        near: pairs of indices; those within an exact group are left to it.
    """
    found = []
    if exact:
        listed = [
            Example(cases[g[0]].image_id, "same as " + ", ".join(cases[k].image_id for k in g[1:]))
            for g in exact
        ]
        what = (
            say(len(exact), "picture is", "pictures are")
            + f" there several times, {sum(map(len, exact))} films in all"
        )
        found.append(finding("exact-duplicate", what, listed))
    group_of = {index: number for number, group in enumerate(exact) for index in group}
    alike = [
        pair
        for pair in near
        if pair.first not in group_of or group_of[pair.first] != group_of.get(pair.second)
    ]
    if alike:
        listed = [_pair_example(cases, pair) for pair in alike]
        what = say(len(alike), "pair", "pairs") + " of films nearly alike"
        found.append(finding("near-duplicate", what, listed))
    crossing = [
        Example(cases[g[0]].image_id, "same as " + ", ".join(cases[k].image_id for k in g[1:]))
        for g in exact
        if len({cases[k].side for k in g} - {None}) > 1
    ]
    crossing += [
        _pair_example(cases, pair)
        for pair in alike
        if pair.similarity >= CERTAIN
        and None not in (sides := {cases[pair.first].side, cases[pair.second].side})
        and len(sides) > 1
    ]
    if crossing:
        what = (
            say(len(crossing), "picture is", "pictures are")
            + " on both sides of the split, under two names"
        )
        found.append(finding("picture-on-both-sides", what, crossing))
    return found


def _pair_example(cases: Sequence[Case], pair: Pair) -> Example:
    first, second = cases[pair.first].image_id, cases[pair.second].image_id
    return Example(first, f"{pair.similarity:.3f} like {second}, {pair.relation}")


def prevalence_findings(
    groups: Sequence[Group],
    split_column: str | None,
    sides: Sequence[str],
    traces: Sequence[TraceFigure],
) -> list[DataFinding]:
    """Groups that differ in prevalence, and whether the file alone separates the sides."""
    found = []
    for by in dict.fromkeys(group.by for group in groups):
        comparable = [g for g in groups if g.by == by and g.labelled >= FEWEST_FILMS]
        if by == split_column:
            comparable = [g for g in comparable if g.value in sides]
        rated = sorted(comparable, key=lambda g: -(g.prevalence or 0.0))
        if len(rated) < 2:
            continue
        high, low = rated[0], rated[-1]
        if high.low is None or low.high is None or high.low <= low.high:
            continue
        what = f"prevalence differs by {by}: {_shown(high)}, {_shown(low)}"
        listed = [Example(g.value, f"{g.positive} of {g.labelled} positive") for g in rated]
        if by == split_column:
            found.append(_origin_finding(what, listed, traces))
        else:
            found.append(finding("prevalence-by-group", what, listed))
    predicting = [t for t in traces if t.target == "label" and (t.figure.low or 0.0) > TRACES_TELL]
    if predicting:
        what = "traces of the file alone predict the label: " + "; ".join(
            f"{t.question}: {_area(t)}" for t in predicting
        )
        listed = [Example(t.question, _area(t)) for t in predicting]
        found.append(finding("label-from-traces", what, listed))
    return found


def _origin_finding(what: str, listed: list[Example], traces: Sequence[TraceFigure]) -> DataFinding:
    """A difference in prevalence is a confound where the file separates sides within a label."""
    separable = [t for t in traces if t.target == "side" and (t.figure.low or 0.0) > 0.5]
    if not separable:
        return finding("prevalence-by-origin", what, listed)
    areas = "; ".join(f"{t.question}: {_area(t)}" for t in separable)
    listed = [*listed, *(Example(t.question, _area(t)) for t in separable)]
    what = f"{what}; and traces of the file separate the sides: {areas}"
    return finding("origin-confound", what, listed)


def _shown(group: Group) -> str:
    return f"{group.value} {group.prevalence:.0%} of {group.labelled}"


def _area(trace: TraceFigure) -> str:
    return f"AUROC {trace.figure.in_words(2)}, n = {trace.figure.n}"
