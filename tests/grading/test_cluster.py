"""The same class on a real Dask cluster of several processes, one of which is killed."""

from __future__ import annotations

import os
import re
import runpy
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from course import RIGHT, dump, solved
from test_fleet import ASSIGNMENT, HANDED_IN, hand_in, places, scores, submissions  # noqa: F401
from test_sandbox import sandbox  # noqa: F401

from coursekit.errors import GradingError
from coursekit.grading import cluster as module
from coursekit.grading.cluster import ClusterWorkers
from coursekit.grading.fleet import Places, grade_class
from coursekit.grading.sandbox import Sandbox
from coursekit.grading.unit import pack

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster(sandbox: Sandbox) -> Iterator[Any]:  # noqa: F811
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as found:
        yield found


def test_a_class_with_a_worker_killed_on_the_way(
    cluster: Any,
    places: Places,  # noqa: F811
    submissions: dict[str, Path],  # noqa: F811
) -> None:
    slow = RIGHT | {"97.1": "# 97.1\nimport time\ntime.sleep(2)\nmean = 5.0"}
    folder = submissions["ada"].parents[2]
    for name in ("ada", "fay", "gus"):
        submissions[name] = hand_in(folder, name, dump(solved(slow)))
    workers = ClusterWorkers(pack(ASSIGNMENT), cluster.scheduler_address)
    before = {worker.pid for worker in cluster.workers.values()}
    killed: list[int] = []

    def kill_one(line: str) -> None:
        if not killed:
            killed.append(next(worker.pid for worker in cluster.workers.values()))
            os.kill(killed[0], signal.SIGKILL)

    try:
        found = grade_class(ASSIGNMENT, submissions, places, workers, kill_one)
        assert killed[0] in before
        assert not found.failed
        points = {s: p for s, (_, _, p) in HANDED_IN.items()} | {"fay": 7, "gus": 7}
        assert {s: r["score"] for s, r in found.reports.items()} == pytest.approx(points)
        assert scores(places) == pytest.approx(points)
        again = grade_class(ASSIGNMENT, submissions, places, workers)
        assert again.unchanged == set(submissions)
    finally:
        workers.close()


def test_a_cluster_that_cannot_grade_is_refused(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(GradingError, match="can be reached"):
        ClusterWorkers(b"", "tcp://127.0.0.1:9")
    monkeypatch.setattr(module, "__version__", "another")
    with pytest.raises(GradingError, match="Workers need coursekit another"):
        ClusterWorkers(b"", cluster.scheduler_address)


EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "cluster"


def test_the_example_for_slurm_makes_a_job() -> None:
    pytest.importorskip("dask_jobqueue")
    example = runpy.run_path(str(EXAMPLES / "slurm.py"))
    with example["grading_cluster"](
        queue="short", interface="lo", scheduler_options={"dashboard_address": ":0"}
    ) as cluster:
        script = cluster.job_script()
    for line in ("#SBATCH -p short", "#SBATCH --cpus-per-task=4", "#SBATCH -t 02:00:00",
                 "source $HOME/coursekit/bin/activate"):  # fmt: skip
        assert line in script
    assert re.search(r"worker tcp://127.0.0.1:\d+ .*--nthreads 1 .*--nworkers 4", script)


def test_the_example_for_kubernetes_is_a_cluster_with_room_for_a_sandbox() -> None:
    example = yaml.safe_load((EXAMPLES / "kubernetes.yaml").read_text())
    assert (example["apiVersion"], example["kind"]) == ("kubernetes.dask.org/v1", "DaskCluster")
    worker = example["spec"]["worker"]["spec"]
    (container,) = worker["containers"]
    assert worker["hostUsers"] is False
    assert container["securityContext"]["procMount"] == "Unmasked"
    (scheduler,) = example["spec"]["scheduler"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in scheduler["ports"]}
    for port in example["spec"]["scheduler"]["service"]["ports"]:
        assert ports[port["targetPort"]] == port["port"]
