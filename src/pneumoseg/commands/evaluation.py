"""What the evaluation commands do at the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.markup import escape

from pneumoseg.commands.terminal import (
    EXIT_OK,
    EXIT_SOME_FAILED,
    console,
    errors,
    progress_bar,
    text_table,
)

if TYPE_CHECKING:  # a command imports what it runs, and only when it runs
    from pathlib import Path

    from pneumoseg.audits.history import HistoryAuditSettings
    from pneumoseg.audits.labels import LabelsAuditSettings
    from pneumoseg.audits.occlusion import OcclusionAuditSettings
    from pneumoseg.audits.page import Audit
    from pneumoseg.audits.tube import TubeAuditSettings
    from pneumoseg.doctor.run import DoctorSettings
    from pneumoseg.doctor.validate import ValidateSettings
    from pneumoseg.evaluation.run import EvaluateSettings
    from pneumoseg.operating_point.ablation import AblateSettings
    from pneumoseg.operating_point.certify import CertifySettings
    from pneumoseg.operating_point.joint import OperatingPointSettings
    from pneumoseg.operating_point.recalibration import RecalibrateSettings
    from pneumoseg.operating_point.retarget import RetargetSettings


def evaluate(settings: EvaluateSettings) -> int:
    """Compare a run with the true masks."""
    from pneumoseg.evaluation.run import evaluation_rows, run_evaluate

    with errors.status("comparing"):
        evaluation = run_evaluate(settings)
    header, *cells = evaluation_rows(evaluation)
    console.print(text_table(header, cells))
    console.print(f"written to {settings.folder}", soft_wrap=True, highlight=False)
    return EXIT_OK


def certify(settings: CertifySettings) -> int:
    """Say which recall may be claimed."""
    from pneumoseg.operating_point.certify import run_certify

    done = run_certify(settings)
    console.print(f"threshold chosen on these films: {done.chosen.claim}", highlight=False)
    console.print(f"the run's threshold, if chosen on others: {done.judged.claim}", highlight=False)
    console.print(f"written to {done.folder}", soft_wrap=True, highlight=False)
    return EXIT_OK


def operating_point(settings: OperatingPointSettings) -> int:
    """Show the operating point chosen for each aim, and what it is worth on films it never saw."""
    from pneumoseg.operating_point.joint import run_operating_point

    with errors.status("loading") as status:
        done = run_operating_point(
            settings, on_film=lambda what, films: status.update(f"{what}: {films} films")
        )
    names = [figure.name for figure in done.aims[0].figures]
    header = ("out of fold", *(report.aim.value for report in done.aims), "n")
    cells = [
        (
            name,
            *(report.figures[place].in_words(2) for report in done.aims),
            str(done.aims[0].figures[place].n),
        )
        for place, name in enumerate(names)
    ]
    console.print(text_table(header, cells))
    for report in done.aims:
        for sentence in report.sentences(done.content):
            console.print(f"{report.aim.value}: {sentence}", highlight=False)
        console.print(f"  pneumoseg predict … {report.flags}", soft_wrap=True, highlight=False)
    for path in (done.folder, *(() if done.bundle is None else (done.bundle.folder,))):
        console.print(f"written to {path}", soft_wrap=True, highlight=False)
    return EXIT_OK


def ablate(settings: AblateSettings) -> int:
    """Say whether the cascade pays."""
    from pneumoseg.operating_point.ablation import AIMED_AT, FALSE_OUTLINES, run_ablate

    with errors.status("loading") as status:
        done = run_ablate(
            settings, on_film=lambda what, films: status.update(f"{what}: {films} films")
        )
    for aim, verdict in done.verdicts.items():
        shown = (AIMED_AT[aim], "recall of the mask", FALSE_OUTLINES)
        header = (f"{aim.value} aim", *shown, "stage two", "s / film")
        cells = [
            (
                report.way,
                *(next(f for f in report.figures if f.name == n).in_words(2) for n in shown),
                f"{report.cost.share_reaching_stage_two:.0%}",
                f"{report.cost.seconds:.3f}",
            )
            for report in done.reports
            if report.aim is aim
        ]
        console.print(text_table(header, cells))
        console.print(verdict, highlight=False)
    console.print(f"written to {done.folder}", soft_wrap=True, highlight=False)
    return EXIT_OK


def audit_tube(settings: TubeAuditSettings) -> int:
    """Say what chest tubes do to the classifier's answer."""
    from pneumoseg.audits.page import write_audit
    from pneumoseg.audits.tube import run_tube_audit

    with _counting("asking the classifier") as films:
        audit = run_tube_audit(settings, films)
    return _show_audit(audit, write_audit(audit, settings.out))


def audit_occlusion(settings: OcclusionAuditSettings) -> int:
    """Say where the classifier looks."""
    from pneumoseg.audits.occlusion import run_occlusion_audit
    from pneumoseg.audits.page import write_audit

    with _counting("asking the classifier") as films:
        audit = run_occlusion_audit(settings, films)
    return _show_audit(audit, write_audit(audit, settings.out))


def audit_history(settings: HistoryAuditSettings) -> int:
    """Say whether the classifier reads a film's history."""
    from pneumoseg.audits.history import run_history_audit
    from pneumoseg.audits.page import write_audit

    with _counting("asking the classifier") as films:
        audit = run_history_audit(settings, films)
    return _show_audit(audit, write_audit(audit, settings.out))


def audit_labels(settings: LabelsAuditSettings) -> int:
    """Say where labels disagree, and list what to read again."""
    from pneumoseg.audits.labels import run_labels_audit, write_reread
    from pneumoseg.audits.page import write_audit

    with _counting("asking the classifier") as films:
        audit, rows = run_labels_audit(settings, films)
    listed = write_reread(rows, settings.out)
    return _show_audit(audit, (*write_audit(audit, settings.out), listed))


def recalibrate(settings: RecalibrateSettings) -> int:
    """Fit a bundle to local films and say what may be claimed."""
    from pneumoseg.operating_point.recalibration import run_recalibrate

    with _counting("asking the classifier") as films:
        done = run_recalibrate(settings, films)
    return _show_audit(done.report, (done.bundle.folder,))


def retarget(settings: RetargetSettings) -> int:
    """Show PPV and NPV at other prevalences."""
    from pneumoseg.operating_point.retarget import retarget_rows, run_retarget

    done = run_retarget(settings)
    header, *cells = retarget_rows(done)
    console.print(text_table(header, cells))
    paths = (settings.out,) if done.derived is None else (settings.out, done.derived.folder)
    for path in paths:
        console.print(f"written to {path}", soft_wrap=True, highlight=False)
    return EXIT_OK


def doctor(settings: DoctorSettings) -> int:
    """Examine a data set; refuse a leaky split."""
    from pneumoseg.doctor.run import run_doctor

    with progress_bar("reading films") as bar:
        report = run_doctor(settings, on_progress=bar)
    header = ("finding", "severity", "count")
    cells = [(found.code, found.severity, str(found.count)) for found in report.findings]
    console.print(text_table(header, cells))
    for found in report.findings:
        first = found.as_dict()["examples"][:1]
        shown = f" First: {first[0]}." if first else ""
        console.print(
            f"\n[bold]{found.code}[/bold]: {escape(found.what)}.{escape(shown)}\n"
            f"  → {escape(found.advice)}",
            highlight=False,
        )
    console.print(f"\nwritten to {settings.out}", soft_wrap=True, highlight=False)
    if report.refused:
        reasons = "; ".join(found.what for found in report.leaks)
        errors.print(
            f"pneumoseg: the split is refused: {escape(reasons)}. Fix it, or look at the data all "
            "the same with --allow-leaks",
            soft_wrap=True,
            highlight=False,
        )
        return EXIT_SOME_FAILED
    return EXIT_OK


def validate(settings: ValidateSettings) -> int:
    """Check a CSV of predictions row by row."""
    from pneumoseg.doctor.validate import run_validate

    with progress_bar("reading films") as bar:
        report = run_validate(settings, on_progress=bar)
    console.print(f"{report.kind}: {report.rows} rows of {report.images} images", highlight=False)
    for note in report.notes:
        console.print(f"note: {escape(note)}", highlight=False)
    for left in report.not_checked:
        console.print(f"not checked: {left}", highlight=False)
    counts = report.as_dict()["counts"]
    if counts:
        cells = [(code, str(count)) for code, count in counts.items()]
        console.print(text_table(("problem", "count"), cells))
    for problem in report.problems[: settings.shown]:
        where = f"line {problem.line}" if problem.line else "no line"
        console.print(
            escape(f"{where}, {problem.image_id or '-'}: {problem.code}: {problem.message}"),
            soft_wrap=True,
            highlight=False,
        )
    if len(report.problems) > settings.shown:
        left_out = len(report.problems) - settings.shown
        console.print(f"and {left_out} more; --out FOLDER lists them all")
    console.print("no problem found" if report.is_valid else "not valid")
    if settings.out is not None:
        console.print(f"written to {settings.out}", soft_wrap=True, highlight=False)
    return EXIT_OK if report.is_valid else EXIT_SOME_FAILED


def _show_audit(audit: Audit, paths: Sequence[Path]) -> int:
    """Figures as a table, what they say, and where they were written."""
    from pneumoseg.audits.page import audit_rows

    header, *cells = audit_rows(audit)
    console.print(text_table(header, cells))
    for sentence in audit.sentences:
        console.print(sentence, highlight=False)
    for path in paths:
        console.print(f"written to {path}", soft_wrap=True, highlight=False)
    return EXIT_OK


@contextmanager
def _counting(description: str) -> Iterator[Callable[[int], None]]:
    """A line on standard error that counts films, whose number is not known beforehand."""
    with errors.status(description) as status:
        yield lambda done: status.update(f"{description}: {done} films")
