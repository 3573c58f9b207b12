"""A wheel is whole: what Colab installs carries the sample and the encoder."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from coursekit.doctor import EXTRAS, NEEDED

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_nothing_is_pinned_from_above() -> None:
    """On Colab an upper bound would replace a package that is loaded already."""
    extras = [r for group in PROJECT["optional-dependencies"].values() for r in group]
    for requirement in [*PROJECT["dependencies"], *extras]:
        assert not any(sign in requirement for sign in ("<", "==", "~=", "!=")), requirement
    assert PROJECT["requires-python"] == ">=3.11"


def test_the_extras_that_the_readme_and_the_doctor_name() -> None:
    extras = PROJECT["optional-dependencies"]
    assert {"lab", "grading", "trackers", "dev"} <= set(extras)
    for extra, (_, packages) in EXTRAS.items():
        assert sorted(packages) == sorted(r.split(">=")[0] for r in extras[extra])
    assert set(NEEDED) <= {r.split(">=")[0] for r in PROJECT["dependencies"]}


def test_every_dependency_has_its_version_in_the_constraints() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {x.split("==")[0].lower().replace("_", "-") for x in lines if "==" in x}
    needed = {r.split(">=")[0].strip().lower() for r in PROJECT["dependencies"]}
    assert needed <= pinned


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), "."]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if built.returncode and "hatchling" in built.stderr:
        pytest.skip("hatchling, which builds the wheel, cannot be had here (no package registry)")
    assert built.returncode == 0, built.stderr
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_carries_sample_blocks_and_encoder(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path)
    bundled = {f"coursekit/_bundled/{name}" for name in (
        "sample/selection.parquet", "sample/DATASHEET.md", "sample/task/task.json",
        "blocks/a.csv", "sample/task/train.parquet",
        "coursekit-mini/model.safetensors", "coursekit-mini/README.md", "runs/frozen-0.txt",
    )}  # fmt: skip
    assert bundled | {"coursekit/py.typed"} <= names
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "docs"))]
    # As on a machine without the checkout: the unpacked wheel is the only coursekit there.
    code = (
        "import coursekit as ck, coursekit.data.paths as p; print(p.bundled('sample'));"
        "print(ck.load_classifier('coursekit-mini').width)"
    )
    command = [sys.executable, "-P", "-c", code]
    found = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(tmp_path), "PATH": "", "HF_HUB_OFFLINE": "1"},
    ).stdout.split()
    assert Path(found[0]) == tmp_path / "coursekit" / "_bundled" / "sample"
    assert found[1] == "128"
