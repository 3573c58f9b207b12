"""What an instructor does beside grading: export, extensions, an example class."""

from __future__ import annotations

from pathlib import Path

import click

COURSE = click.option(
    "--course", "course_folder", default=".", show_default=True,
    type=click.Path(path_type=Path), help="The instructor's folder, with course.yaml.",
)  # fmt: skip
LESSON = click.argument("lesson")


@click.command()
@click.option("--to", type=click.Choice(["canvas", "moodle", "csv"]), default="csv",
              show_default=True)  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), default=None, help="[grades-TO.csv]")
@click.argument("lessons", nargs=-1)
@COURSE
def export(to: str, out: Path | None, lessons: tuple[str, ...], course_folder: Path) -> None:
    """Write the gradebook's grades of LESSONS (all by default) for a learning platform.

    Canvas and Moodle get final grades only; csv has those that wait for a person too.
    """
    from coursekit.classroom.export import read_grades, write_grades
    from coursekit.grading.course import open_course
    from coursekit.grading.lateness import settle_late

    course = open_course(course_folder)
    for lesson in {one.assignment for one in read_grades(course.db_url, lessons)}:
        settle_late(course.db_url, lesson, course.late)
    grades = read_grades(course.db_url, lessons)
    path = write_grades(
        grades, to, out or Path(f"grades-{to}.csv" if to != "csv" else "grades.csv")
    )
    waiting = [f"{one.student} ({one.assignment})" for one in grades if one.state == "waiting"]
    missing = sum(one.state == "missing" for one in grades)
    final = len(grades) - len(waiting) - missing
    click.echo(f"{path}: {final} final, {len(waiting)} wait for a person, {missing} missing")
    if waiting and to != "csv":
        click.echo(f"left blank, for a person has to decide: {', '.join(waiting)}")


@click.command()
@LESSON
@click.argument("student")
@click.option("--days", type=click.FloatRange(min=0), required=True, help="0 takes it back.")
@COURSE
def extend(lesson: str, student: str, days: float, course_folder: Path) -> None:
    """Give STUDENT more time for LESSON, counted from the due date."""
    from coursekit.grading.course import open_course
    from coursekit.grading.gradebook import register_assignment
    from coursekit.grading.lateness import extend as give
    from coursekit.grading.lateness import settle_late

    course = open_course(course_folder)
    register_assignment(course.db_url, lesson, course.master(lesson))
    give(course.db_url, lesson, student, days)
    settle_late(course.db_url, lesson, course.late, student)
    click.echo(f"{student} has {days:g} days more for {lesson}")


@click.command("example-class")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--lesson", default="01", show_default=True)
@COURSE
def example_class(folder: Path, lesson: str, course_folder: Path) -> None:
    """Write an instructor's FOLDER with twenty submissions in it, right, broken and hostile."""
    from coursekit.classroom.example import EXPECTED, write_example_class
    from coursekit.grading.course import open_course

    examples = write_example_class(open_course(course_folder), lesson, folder)
    click.echo(f"{len(examples)} submissions of lesson {lesson} in {folder / 'submitted'}; what")
    click.echo(f"each of them deserves is in {folder / EXPECTED}. Next: cd {folder}")


@click.command()
@LESSON
@click.option("--seed-from", type=click.Choice(["student"]), required=True,
              help="Whence each task is seeded.")  # fmt: skip
@click.option("--students", type=click.Path(exists=True, path_type=Path), required=True,
              help="CSV with a column id.")  # fmt: skip
@COURSE
def assign(lesson: str, seed_from: str, students: Path, course_folder: Path) -> None:
    """Write a notebook of LESSON for each student, with a task of their own in it.

    The same notebook for all is made by `nbgrader generate_assignment`.
    """
    from coursekit.classroom.assign import assign_personal, read_students
    from coursekit.grading.course import open_course

    written = assign_personal(open_course(course_folder), lesson, read_students(students))
    click.echo(f"{len(written)} notebooks, such as {written[0]}")
    click.echo("Keep secret.key and personal/: without them nobody can tell whose task is whose.")


COMMANDS = (assign, export, extend, example_class)
