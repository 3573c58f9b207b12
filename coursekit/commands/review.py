"""``coursekit audit`` and ``coursekit class-page``: a class as a whole."""

from __future__ import annotations

from pathlib import Path

import click

COURSE = click.option(
    "--course",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    show_default=True,
    help="The instructor's folder.",
)


@click.command()
@click.argument("lesson")
@COURSE
@click.option("--fraction", type=click.FloatRange(0, 1), default=0.1, show_default=True)
@click.option("--student", "students", multiple=True, help="These, in place of a drawn sample.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the draw.  [0]")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default=None, help="[the best]")
@click.option("--longest", type=float, default=60.0, help="Minutes for one run.  [60]")
def audit(
    lesson: str, course: Path, fraction: float, students: tuple[str, ...], seed: int,
    device: str | None, longest: float,
) -> None:  # fmt: skip
    """Train a drawn sample of LESSON's runs again, and compare; the same command goes on."""
    from coursekit.classroom.review import audit_lesson, review_lesson
    from coursekit.grading.course import open_course

    opened = open_course(course)
    audit_lesson(opened, lesson, fraction, students, seed, device, 60 * longest, say=click.echo)
    click.echo(f"class page: {review_lesson(opened, lesson)[1]}")


@click.command("class-page")
@click.argument("lesson")
@COURSE
def class_page(lesson: str, course: Path) -> None:
    """Look for copies in LESSON and write its page: scores, layers, who needs a person."""
    from coursekit.classroom.review import review_lesson
    from coursekit.grading.course import open_course

    click.echo(f"class page: {review_lesson(open_course(course), lesson)[1]}")
