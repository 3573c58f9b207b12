"""The ``coursekit`` command. Each subcommand parses, calls one function of the library, prints."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from coursekit.bars import first_process
from coursekit.commands import classroom
from coursekit.commands.blind import blind
from coursekit.commands.review import audit, class_page
from coursekit.errors import CourseKitError
from coursekit.version import __version__

CARRY_ON = (
    "Interrupted. What was saved is kept: the same command goes on from there, or starts anew."
)
SEED = click.IntRange(min=0)
RUN_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


class _Group(click.Group):
    """Shows the kit's own errors, and those of files, as sentences, and ctrl-C as one."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (CourseKitError, OSError) as error:
            # click itself ends quietly where a pipe such as `| head` was closed.
            if os.environ.get("COURSEKIT_DEBUG") or isinstance(error, BrokenPipeError):
                raise
            raise click.ClickException(_sentence(error)) from error
        except KeyboardInterrupt:
            if first_process():
                click.echo(f"\n{CARRY_ON}", err=True)
            sys.exit(130)


def _sentence(error: CourseKitError | OSError) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return (
            f"{error.filename}: {error.strerror}. Is the path right, and may you read and write "
            "there?"
        )
    return str(error)


@click.group(cls=_Group)
@click.version_option(__version__)
def main() -> None:
    """Fine-tune a molecular transformer on a DNA-encoded library, and see what it buys."""


for command in (blind, audit, class_page, *classroom.COMMANDS):
    main.add_command(command)


@main.command()
@click.option("--out", default="report", show_default=True, help="Folder for the report.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--encoder", default="coursekit-mini", show_default=True, help="Hub id or folder.")
@click.option("--task", "task_name", default="sample", show_default=True, help="Name or folder.")
def demo(out: str, seed: int, encoder: str, task_name: str) -> None:
    """Frozen, fine-tuned and progressive side by side, with a report page."""
    from coursekit.demo import run_demo

    run_demo(out, seed, encoder, task_name, say=click.echo)


@main.command()
def doctor() -> None:
    """What this machine can do, which profile fits, what is missing and how to get it."""
    from coursekit.doctor import examine

    findings = examine()
    for finding in findings:
        click.echo(str(finding))
    missing = [f.topic for f in findings if f.state == "missing"]
    click.echo(f"\nmissing: {', '.join(missing)}" if missing else "\nnothing is missing")


@main.group()
def data() -> None:
    """Fetch KinDEL, check a selection, simulate or enumerate a library."""


@data.command()
@click.argument("target", type=click.Choice(["mapk14", "ddr1"]))
@click.option("--full", is_flag=True, help="The file of all 81 million molecules.")
@click.option("--url", default=None, help="Where the bucket's layout begins.")
@click.option("--accept-licence", is_flag=True, help="Accept KinDEL's license without being asked.")
def fetch(target: str, full: bool, url: str | None, accept_licence: bool) -> None:
    """Download KinDEL's files for one target, or go on with a download that broke off."""
    from coursekit.data.download import fetch as fetch_files

    files = fetch_files(target, full, url, accept_licence=accept_licence or None)
    for name, path in files.items():
        click.echo(f"{name:<18} {path}")


@data.command()
@click.argument("source")
@click.option("--keep-valid", is_flag=True, help="Drop what is wrong, and count it.")
def check(source: str, keep_valid: bool) -> None:
    """Validate a selection table and show how its labels come out."""
    from coursekit.data import label_counts, label_selection, load_selection
    from coursekit.data.validation import SelectionReport

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says what the report says
        selection = load_selection(source, keep_valid=keep_valid)
    report = SelectionReport.of(selection)
    click.echo(f"{source}: {len(selection):,} rows, all 13 columns as they should be")
    for reason, count in report.dropped.items():
        click.echo(f"dropped of {report.rows_read:,}: {count:,} ({reason})")
    click.echo(f"SMILES parsed: {report.smiles_parsed:,}")
    click.echo(str(label_counts(label_selection(selection))))
    click.echo("hard negatives are of the kinds disynthon, similarity and matrix")


@data.command()
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
def simulate(seed: int, out: Path) -> None:
    """Simulate another selection on the bundled library: a blind set, a set per student."""
    from coursekit.data.simulate import write_sample

    out.mkdir(parents=True, exist_ok=True)  # or say now, and not after the work, that it cannot be
    click.echo(f"written: {write_sample(out, seed)}")


@data.command("enumerate")
@click.option("-n", "number", type=click.IntRange(min=1), default=120_000, show_default=True)
@click.option("--seed", type=SEED, default=20, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A .smi file.")
def enumerate_members(number: int, seed: int, out: Path) -> None:
    """Write random members of the bundled library as SMILES, each once, for pretraining."""
    from coursekit.data.library import Library
    from coursekit.storage import atomic_file

    library = Library.own()
    out.parent.mkdir(parents=True, exist_ok=True)
    smiles = dict.fromkeys(library.members(library.sample(number, seed)))
    with atomic_file(out) as temporary:
        temporary.write_text("\n".join(smiles) + "\n", encoding="ascii")
    click.echo(f"{len(smiles):,} molecules written to {out}")


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Encoder's folder.")
@click.option("--epochs", default=3, show_default=True)
@click.option("--blocks", default=6, show_default=True)
@click.option("--hidden", default=128, show_default=True)
@click.option("--heads", default=4, show_default=True)
@click.option("--batch-size", default=128, show_default=True)
@click.option("--lr", "learning_rate", default=1.5e-3, show_default=True)
@click.option("--seed", type=SEED, default=0, show_default=True)
def pretrain(files: tuple[Path, ...], out: Path, **settings: Any) -> None:
    """Pretrain a small encoder on FILES of SMILES; interrupted, the same command goes on."""
    from coursekit.models.pretrain import PretrainSettings
    from coursekit.models.pretrain import pretrain as run_pretraining

    out.mkdir(parents=True, exist_ok=True)
    run_pretraining(files, out, PretrainSettings(**settings), report=click.echo)


STRATEGIES = {
    "frozen": "HeadOnlyFinetune",
    "full": "FullFinetune",
    "progressive": "ProgressiveUnfreeze",
    "partial": "PartialFinetune",
    "lora": "LoRAFinetune",
    "scheduled": "ScheduledFinetune",
}
TRACKERS = ("tensorboard", "mlflow", "wandb", "comet", "langfuse")


@main.command()
@click.option("--strategy", type=click.Choice(list(STRATEGIES)), default="full", show_default=True)
@click.option("--task", "task_name", default="sample", show_default=True, help="Name or folder.")
@click.option("--encoder", default="coursekit-mini", show_default=True, help="Hub id or folder.")
@click.option("--pooling", type=click.Choice(["cls", "mean"]), default="cls", show_default=True)
@click.option("--epochs", default=5, show_default=True)
@click.option("--lr", type=float, default=None, help="Peak learning rate.  [strategy's default]")
@click.option("--batch-size", type=int, default=None, help="[strategy's default]")
@click.option("--schedule", default=None, help="YAML file for the strategy scheduled.  [generated]")
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option(
    "--tracker", "trackers", type=click.Choice(TRACKERS), multiple=True, help="May be repeated."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
def train(
    strategy: str, task_name: str, encoder: str, pooling: Any, epochs: int,
    lr: float | None, batch_size: int | None, schedule: str | None, seed: int,
    trackers: tuple[str, ...], out: Path,
) -> None:  # fmt: skip
    """Train one strategy and keep its checkpoints and record; the same command goes on.

    Under `torchrun -m coursekit train ...` several processes train one model together.
    """
    from coursekit import training
    from coursekit.data import load_task
    from coursekit.models import load_classifier
    from coursekit.storage import states

    if schedule is not None and strategy != "scheduled":
        raise click.UsageError("--schedule needs --strategy scheduled")
    given = {"lr": lr, "batch_size": batch_size, "schedule": schedule}
    chosen = getattr(training, STRATEGIES[strategy])(
        **{name: value for name, value in given.items() if value is not None}
    )
    task = load_task(task_name)
    model = load_classifier(encoder, pooling=pooling, seed=seed)
    out.mkdir(parents=True, exist_ok=True)  # a place that cannot be written is known at once
    first = first_process()  # of several that torchrun has started only one speaks and writes
    if first:
        click.echo(str(chosen.plan(model, epochs)))
        if not states(out / "states"):  # what goes on shows its own remaining time
            click.echo(f"expected: {training.expected_cost(chosen, model, task, epochs, seed)}")
    run = chosen.fit(
        model, task, epochs=epochs, seed=seed, checkpoint_dir=out / "states", tracker=trackers
    )
    if first:
        click.echo(str(run))
    if run.interrupted:
        raise KeyboardInterrupt
    if first:
        click.echo(f"record: {run.save(out)}")


@main.command("find-lr")
@click.option("--strategy", type=click.Choice(list(STRATEGIES)), default="full", show_default=True)
@click.option("--task", "task_name", default="sample", show_default=True, help="Name or folder.")
@click.option("--encoder", default="coursekit-mini", show_default=True, help="Hub id or folder.")
@click.option("--pooling", type=click.Choice(["cls", "mean"]), default="cls", show_default=True)
@click.option("--steps", default=80, show_default=True, help="Of each sweep.")
@click.option("--sweeps", default=3, show_default=True)
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=None, help="A picture to write.")
def find_lr(
    strategy: str, task_name: str, encoder: str, pooling: Any, steps: int, sweeps: int, seed: int,
    out: Path | None,
) -> None:  # fmt: skip
    """Sweep a strategy's learning rate, and say where the loss falls fastest."""
    from coursekit import training
    from coursekit.data import load_task
    from coursekit.models import load_classifier

    task = load_task(task_name)
    model = load_classifier(encoder, pooling=pooling, seed=seed)
    chosen = getattr(training, STRATEGIES[strategy])()
    found = training.find_learning_rate(chosen, model, task, steps=steps, sweeps=sweeps, seed=seed)
    click.echo(str(found))
    if out is not None:
        click.echo(f"picture: {found.plot().save(out)}")


@main.command()
@click.option("--budget", type=float, required=True, help="Minutes for the whole run.")
@click.option("--memory", type=float, default=None, help="MB that training may add.  [any]")
@click.option("--task", "task_name", default="sample", show_default=True, help="Name or folder.")
@click.option("--encoder", default="coursekit-mini", show_default=True, help="Hub id or folder.")
@click.option("--seed", type=SEED, default=0, show_default=True)
def recommend(budget: float, memory: float | None, task_name: str, encoder: str, seed: int) -> None:
    """Which strategy to try first, why, what it will cost here, and what is not known."""
    from coursekit import training
    from coursekit.data import load_task

    click.echo(str(training.recommend(load_task(task_name), encoder, budget, memory, seed=seed)))


@main.command()
@click.argument("runs", nargs=-1, required=True, type=RUN_FOLDER)
@click.option("--part", type=click.Choice(["test", "valid"]), default="test", show_default=True)
@click.option("--csv", "as_csv", is_flag=True, help="Numbers with their intervals as CSV.")
@click.option("--latex", "as_latex", is_flag=True, help="A booktabs table.")
def evaluate(runs: tuple[Path, ...], part: str, as_csv: bool, as_latex: bool) -> None:
    """Score the records in folders RUNS and put them side by side."""
    from coursekit.evaluation import compare
    from coursekit.runs import Run

    if as_csv and as_latex:
        raise click.UsageError("choose one of --csv and --latex")
    named = zip(_row_names(runs), runs, strict=True)
    comparison = compare({name: Run.load(folder) for name, folder in named}, part=part)
    if as_csv or as_latex:
        click.echo(comparison.to_csv() if as_csv else comparison.to_latex(), nl=False)
        return
    click.echo(str(comparison))


def _row_names(folders: Sequence[Path]) -> list[str]:
    """Each folder's own name; its whole path where another has the same name."""
    names = [folder.resolve().name for folder in folders]
    return [
        name if names.count(name) == 1 else str(folder)
        for name, folder in zip(names, folders, strict=True)
    ]


@main.command()
@click.argument("lesson")
@click.option(
    "--course", type=RUN_FOLDER, default=".", show_default=True, help="The instructor's folder."
)
@click.option("--student", "students", multiple=True, help="May be repeated.  [all]")
@click.option("--jobs", type=click.IntRange(min=1), default=None, help="[one a processor]")
@click.option("--scheduler", default="", help="Of a running Dask cluster, as tcp://host:8786.")
@click.option("--unsafe-no-sandbox", "unsafe", is_flag=True, help="At your own risk.")
def grade(
    lesson: str, course: Path, students: tuple[str, ...], jobs: int | None, scheduler: str,
    unsafe: bool,
) -> None:  # fmt: skip
    """Grade what is new or changed of LESSON; interrupted, the same command goes on.

    At the end the class is looked at as a whole, for copies, and its page is written
    (class/). Gradebook, reports (autograded/) and feedback (feedback/) are written as each
    submission ends.
    """
    from coursekit.classroom.grade import grade_lesson
    from coursekit.classroom.review import review_lesson
    from coursekit.grading.course import open_course

    if jobs is not None and scheduler:
        raise click.UsageError("--jobs is for this machine; a cluster has as many as it has")
    opened = open_course(course)
    summary = grade_lesson(opened, lesson, students, jobs, scheduler, unsafe, say=click.echo)
    if not summary.interrupted and summary.reports:
        work, page = review_lesson(opened, lesson)
        summary.reports |= {s: dict(work.reports[s]) for s in summary.reports if s in work.reports}
        click.echo(f"class page: {page}")
    click.echo(str(summary))
    if summary.interrupted:
        raise KeyboardInterrupt
    if summary.failed:
        sys.exit(1)
