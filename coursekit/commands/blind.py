"""``coursekit blind``: molecules whose labels only the instructor keeps."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def blind() -> None:
    """Molecules for students to predict, whose labels only the instructor keeps."""


@blind.command()
@click.option("--task", "task_name", default="sample", show_default=True, help="Name or folder.")
@click.option(
    "--from", "source", default=None,
    help="Selection to draw from.  [for sample: simulated anew; else the task's own]",
)  # fmt: skip
@click.option("--binders", type=click.IntRange(min=5), default=200, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=None, help="[drawn, and kept]")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
def make(task_name: str, source: str | None, binders: int, seed: int | None, out: Path) -> None:
    """Write blind.csv, for students, and blind-labels.json, to keep."""
    import secrets

    import pandas as pd

    from coursekit.data import Library, load_selection, load_task
    from coursekit.data.blind import BLIND_FILE, LABELS_FILE, make_blind
    from coursekit.data.simulate import simulate
    from coursekit.data.sources import TARGETS, kindel_dir

    seed = secrets.randbelow(2**31) if seed is None else seed
    out.mkdir(parents=True, exist_ok=True)  # or say now, and not after the work, that it cannot be
    task = load_task(task_name)
    selection: str | pd.DataFrame = source or task_name
    seen = library = None
    if task_name == "sample":
        seen = load_selection("sample")
        if source is None:
            selection = simulate(Library.own(), seed).selection
    elif source is not None and (task_name in TARGETS or Path(task_name).suffix == ".parquet"):
        seen = load_selection(task_name)
    elif source is None and Path(task_name).is_dir():
        raise click.UsageError("--task is a folder: say by --from which selection to draw from")
    if str(selection) in TARGETS:
        library = Library.from_kindel(kindel_dir() / "synthons")
    found = make_blind(task, selection, seed, binders=binders, seen=seen, library=library)
    found.save(out)
    click.echo(str(found))
    click.echo(f"for students: {out / BLIND_FILE}")
    click.echo(f"to keep, and never to hand out: {out / LABELS_FILE}")
