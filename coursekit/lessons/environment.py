"""The first cell of every lesson: what this machine is, how much to do, where things are kept."""

from __future__ import annotations

import os
import random
import sys
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from coursekit.errors import AnswerError, CourseKitError
from coursekit.lessons.front_end import front_end, show
from coursekit.lessons.install import install_missing, missing_packages
from coursekit.lessons.journal import Journal
from coursekit.lessons.profiles import Profile, profile_named
from coursekit.lessons.texts import lesson_text
from coursekit.version import __version__

T = TypeVar("T")

RUNS = "COURSEKIT_RUNS"
PROFILE = "COURSEKIT_PROFILE"
_DRIVE = Path("/content/drive/MyDrive")

_current: Environment | None = None
_journals: dict[tuple[str, Path], Journal] = {}


@dataclass(frozen=True)
class Environment:
    """What ``setup`` found and chose.

    Args:
        lesson: two digits, or "" outside of a lesson.
        front_end: "Colab", "JupyterLab", "VS Code", "Jupyter", "IPython" or "Python".
        device: such as "CPU, 2 cores" or "Tesla T4, 15 GB".
        precision: what training uses by itself: "fp32", "bf16" or "fp16".
        profile: how much to do.
        home: folder where runs, checkpoints and progress are kept.
        seed: what random, numpy and torch were seeded with.
        task: name for ``load_task``.
        encoder: name for ``load_classifier``.
        notices: sentences for the learner.
    """

    lesson: str
    front_end: str
    device: str
    precision: str
    profile: Profile
    home: Path
    seed: int
    task: str
    encoder: str
    notices: tuple[str, ...] = field(default=())

    def pick(self, **values: T) -> T:
        """The value for this profile, as in ``env.pick(quick=2, cpu=5)``.

        A profile that is not named takes the value of the next smaller one.
        """
        return self.profile.pick(values)

    def folder(self, name: str) -> Path:
        """Where to keep something, such as the checkpoints of one run."""
        return self.home / f"lesson-{self.lesson or 'free'}" / name

    def _lines(self) -> list[tuple[str, str]]:
        minutes = _minutes(self.lesson, self.profile.name)
        unit = "minute" if minutes == 1 else "minutes"
        time = f"; about {minutes:g} {unit} of computing" if minutes else ""
        return [
            ("running in", self.front_end),
            ("device", f"{self.device}; training in {self.precision}"),
            ("profile", f"{self.profile.name}: {self.profile.about}{time}"),
            ("data, encoder", f"{self.task}, {self.encoder}"),
            ("kept in", f"folder {self.home.name!r} ({_kept(self.front_end, self.home)})"),
            ("seed", str(self.seed)),
            ("coursekit", __version__),
        ]

    def __str__(self) -> str:
        lines = [f"{name + ':':<15}{text}" for name, text in self._lines()]
        return "\n".join([*lines, *(f"Note: {one}" for one in self.notices)])

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th scope="row" style="text-align: left">{name}</th>'
            f'<td style="text-align: left">{escape(text)}</td></tr>'
            for name, text in self._lines()
        )
        notes = "".join(f"<p><strong>Note:</strong> {escape(one)}</p>" for one in self.notices)
        return f"<table>{rows}</table>{notes}"


def setup(
    profile: str | None = None,
    *,
    lesson: str = "",
    made_with: str | None = None,
    task: str = "sample",
    encoder: str = "coursekit-mini",
    seed: int = 0,
) -> Environment:
    """Look at this machine, choose how much to do, seed everything, and say all that.

    Args:
        profile: "quick", "cpu", "t4" or "full"; by default what fits the machine, or what the
            environment variable COURSEKIT_PROFILE names.
        lesson: two digits.
        made_with: version of coursekit that the notebook was made with.
        task: what ``env.task`` says; "mapk14" after ``coursekit data fetch mapk14``.
        encoder: what ``env.encoder`` says, such as "DeepChem/ChemBERTa-77M-MLM".
        seed: for random, numpy and torch.

    Returns:
        The environment; it is shown already.

    Raises:
        CourseKitError: no such profile, or no folder to keep anything in.
    """
    global _current
    from coursekit import doctor

    where = front_end()
    notices = []
    missing = missing_packages()
    if missing and where == "Colab":
        notices += install_missing(missing)
    elif missing:
        notices.append(f"missing: {', '.join(missing)}; pip install {' '.join(missing)}")
    if made_with is not None and made_with != __version__:
        notices.append(
            f"this notebook was made with coursekit {made_with}, installed is {__version__}. "
            "Where a check or a name is missing, take the notebook of the installed version."
        )
    chosen = profile or os.environ.get(PROFILE) or doctor.suggest_profile()
    device, precision = _device()
    home = _home(where)
    if where == "Colab" and not home.is_relative_to(_DRIVE):
        notices.append(
            "Colab forgets this machine's files when it disconnects. To keep runs, run "
            "`from google.colab import drive; drive.mount('/content/drive')` and this cell again; "
            "without, everything works the same."
        )
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - learners' own code may use it
    if "torch" in sys.modules:
        import torch

        torch.manual_seed(seed)
    _current = Environment(
        lesson, where, device, precision, profile_named(chosen), home, seed, task, encoder,
        tuple(notices),
    )  # fmt: skip
    shown = _current
    show(shown._repr_html_(), str(shown))
    return _current


def current() -> Environment | None:
    """The environment of the last ``setup``, or None before it."""
    return _current


def journal(lesson: str) -> Journal:
    """The journal of a lesson, in the folder that ``setup`` chose (or would choose)."""
    home = _current.home if _current is not None else _home(front_end())
    key = (lesson, home)
    if key not in _journals:
        _journals[key] = Journal(lesson, home)
    return _journals[key]


def _device() -> tuple[str, str]:
    """Name of the device, and the precision that training uses on it by itself."""
    import torch

    from coursekit.doctor import GIB, cores
    from coursekit.models.precision import choose_precision

    if torch.cuda.is_available():
        device = torch.device("cuda")
        memory = torch.cuda.get_device_properties(0).total_memory / GIB
        name = f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB"
    else:
        device, n = torch.device("cpu"), cores()
        name = f"CPU, {n} core{'s' if n != 1 else ''}"
    return name, choose_precision("auto", device)


def _home(where: str) -> Path:
    named = os.environ.get(RUNS, "").strip()
    if named:
        home = Path(named).expanduser()
    elif where == "Colab":
        home = (_DRIVE if _DRIVE.is_dir() else Path("/content")) / "coursekit-runs"
    else:
        home = Path.cwd() / "runs"
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CourseKitError(
            f"setup: the folder {home} for runs cannot be made ({error.strerror or error}). Set "
            f"{RUNS} to a folder you may write to."
        ) from error
    return home


def _kept(where: str, home: Path) -> str:
    if os.environ.get(RUNS, "").strip():
        return f"named by {RUNS}"
    if where == "Colab":
        return "on Drive" if home.is_relative_to(_DRIVE) else "until Colab disconnects"
    return "beside the notebook"


def _minutes(lesson: str, profile: str) -> float | None:
    try:
        found: Any = lesson_text(lesson).minutes.get(profile) if lesson else None
    except AnswerError:
        return None
    return float(found) if found is not None else None
