"""Trackers by name, each as far as it runs without a network, and what happens where one fails."""

from __future__ import annotations

import gzip
import json
import os
import re
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import pytest
from tiny import STRATEGIES, tiny_task

from coursekit.cli import TRACKERS
from coursekit.errors import TrainingError
from coursekit.runs import Run
from coursekit.training import tracking
from coursekit.training.trackers import PACKAGES

FULL = STRATEGIES["full"]
HERE = [name for name, needs in PACKAGES.items() if all(find_spec(need) for need in needs)]


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(name not in HERE, reason=f"{' or '.join(PACKAGES[name])} not here")


@contextmanager
def langfuse_server(hang: threading.Event | None = None) -> Iterator[tuple[str, list]]:
    """Answers as Langfuse does, or not at all until ``hang`` is set."""
    heard: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, content: dict) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            if hang is not None:
                hang.wait(60)
            heard.append((self.path, None))
            organization = {"id": "o", "name": "o"}
            project = {"id": "p", "name": "p", "metadata": {}, "organization": organization}
            self.answer(200, {"data": [project]})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            heard.append((self.path, body))
            self.answer(200, {"successes": [], "errors": []})

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", heard
    finally:
        server.shutdown()


def run_program(folder: Path, names: list[str], **more: str) -> str:
    environment = os.environ | {
        "HOME": str(folder),
        "OMP_NUM_THREADS": "1",
        "COURSEKIT_CACHE": str(folder / "cache"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(folder),
        "WANDB_SILENT": "true",
        "COMET_START_ONLINE": "0",
        "COMET_OFFLINE_DIRECTORY": str(folder / "comet"),
        "LANGFUSE_PUBLIC_KEY": "pk-lf-test",
        "LANGFUSE_SECRET_KEY": "sk-lf-test",
        **more,
    }
    program = Path(__file__).with_name("tracked.py")
    done = subprocess.run(
        [sys.executable, str(program), str(folder), *names],
        capture_output=True, text=True, timeout=300, env=environment, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tracked(tmp_path_factory) -> tuple[Path, Run, list]:
    """One run under all trackers that are here, stopped at step 6 of 12 and gone on with."""
    folder = tmp_path_factory.mktemp("tracked")
    with langfuse_server() as (url, heard):
        said = run_program(folder, HERE, LANGFUSE_BASE_URL=url, LANGFUSE_HOST=url)
    run = Run.load(folder / "run")
    assert not any("tracker" in note for note in run.notes), said
    return folder, run, heard


def expected(run: Run) -> dict[str, dict[int, float]]:
    """All numbers of the history by name and step, and the scores at the end."""
    found: dict[str, dict[int, float]] = {}
    for row in run.history.to_dict("records"):
        for key, value in row.items():
            if key not in ("step", "epoch", "phase", "split") and value == value:
                found.setdefault(f"{row['split']}/{key}", {})[row["step"]] = value
    scores = run.scores("test", n_boot=0)
    for name in ("auroc_easy", "au_prc_easy", "auroc_hard", "au_prc_hard"):
        found[f"test/{name}"] = {12: getattr(scores, name).value}
    return found


def assert_same(found: dict[str, dict[int, float]], run: Run) -> None:
    wanted = expected(run)
    assert wanted.keys() <= found.keys()
    assert len(wanted["train/loss"]) == 12
    assert list(wanted["valid/loss"]) == [4, 8, 12]
    for name, values in wanted.items():
        assert found[name] == pytest.approx(values, rel=1e-5, abs=1e-7), name


@pytest.mark.slow
@needs("tensorboard")
def test_tensorboard(tracked):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, run, _ = tracked
    (book,) = (folder / "states" / "tensorboard").iterdir()
    events = EventAccumulator(str(book))
    events.Reload()
    tags = events.Tags()
    assert_same({t: {e.step: e.value for e in events.Scalars(t)} for t in tags["scalars"]}, run)
    (settings,) = events.Tensors("settings/text_summary")
    text = settings.tensor_proto.string_val[0].decode()
    assert f'"task": "{run.task["fingerprint"]}"' in text
    assert '"seed": 3' in text


@pytest.mark.slow
@needs("mlflow")
def test_mlflow(tracked):
    import mlflow

    folder, run, _ = tracked
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("coursekit")
    (book,) = client.search_runs([experiment.experiment_id])  # one, though it went on once
    assert book.info.run_name == "FullFinetune on tiny"
    assert book.info.status == "FINISHED"
    assert book.data.params["lr"] == str(FULL.lr)
    assert book.data.params["seed"] == "3"
    assert book.data.params["task"] == run.task["fingerprint"]
    found = {
        name: {m.step: m.value for m in client.get_metric_history(book.info.run_id, name)}
        for name in book.data.metrics
    }
    assert_same(found, run)


def wandb_records(file: Path) -> Iterator[bytes]:
    """What is in an offline file: after 7 bytes the log format of LevelDB, 32 KiB a block."""
    content, at, record = file.read_bytes(), 7, b""
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield record
            record = b""


@pytest.mark.slow
@needs("wandb")
def test_wandb(tracked):
    from wandb.proto.wandb_internal_pb2 import Record

    folder, run, _ = tracked
    files = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(files) == 2  # before and after; the same run when they are uploaded
    ids, settings, found = set(), {}, {}
    for file in files:
        for content in wandb_records(file):
            record = Record()
            record.ParseFromString(content)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                ids.add((record.run.run_id, record.run.project, record.run.display_name))
            if kind == "config":
                settings |= {i.key or i.nested_key[0]: i.value_json for i in record.config.update}
            if kind == "history":
                items = {(i.key or i.nested_key[0]): i.value_json for i in record.history.item}
                step = int(items.get("_step", record.history.step.num))
                for key, value in items.items():
                    found.setdefault(key, {})[step] = float(value)
    ((_, project, title),) = ids
    assert (project, title) == ("coursekit", "FullFinetune on tiny")
    assert json.loads(settings["task"]) == run.task["fingerprint"]
    assert json.loads(settings["seed"]) == 3
    assert_same(found, run)


@pytest.mark.slow
@needs("comet")
def test_comet(tracked):
    folder, run, _ = tracked
    files = sorted(folder.glob("comet/*.zip"))
    keys, settings, found = set(), {}, {}
    for file in files:
        with zipfile.ZipFile(file) as archive:
            about = json.loads(archive.read("experiment.json"))
            assert about["resume_strategy"] == "get_or_create"
            keys.add((about["offline_id"], about["project_name"]))
            for line in archive.read("messages.json").decode().splitlines():
                message = json.loads(line)
                payload = message["payload"]
                if message["type"] == "metric_msg":
                    metric = payload["metric"]
                    value = float(metric["metricValue"])
                    found.setdefault(metric["metricName"], {})[metric["step"]] = value
                if message["type"] == "parameter_msg":
                    settings[payload["param"]["paramName"]] = payload["param"]["paramValue"]
    assert len(files) == 2
    ((_, project),) = keys
    assert project == "coursekit"
    assert settings["task"] == run.task["fingerprint"]
    assert int(settings["seed"]) == 3
    assert_same(found, run)


@pytest.mark.slow
@needs("langfuse")
def test_langfuse(tracked):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    _, run, heard = tracked
    spans, scores = [], {}
    for path, body in heard:
        if path.endswith("/otel/v1/traces"):
            request = ExportTraceServiceRequest()
            request.ParseFromString(body)
            spans += [
                span
                for resource in request.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            ]
        elif path.endswith("/scores"):
            for score in json.loads(body):
                scores[score["name"]] = score["value"], score["traceId"]
    assert len({span.trace_id for span in spans}) == 1  # one trace, though it went on once
    assert {trace for _, trace in scores.values()} == {spans[0].trace_id.hex()}
    final = expected(run)
    assert {k: v for k, (v, _) in scores.items()} == pytest.approx(
        {k: v[12] for k, v in final.items() if k.startswith("test/")}
    )
    kinds = [span.name for span in spans]
    assert kinds.count("validation") == 3
    assert kinds.count("FullFinetune on tiny") == 2
    texts = [str(span) for span in spans]
    assert any(run.task["fingerprint"] in text for text in texts)
    numbers = [float(n) for text in texts for n in re.findall(r"\d\.\d{5,}", text)]
    for value in final["valid/loss"].values():
        assert any(number == pytest.approx(value, rel=1e-5) for number in numbers)


def test_the_command_line_knows_the_same_names():
    assert set(TRACKERS) == set(get_args(tracking.Named)) == set(PACKAGES)


# ---------------------------------------------------------------- what can go wrong


@pytest.mark.parametrize("choice", ["tensorbord", [print, 3], [None]])
def test_a_name_that_is_not_known(choice, task, make_model):
    with pytest.raises(TrainingError, match=r"tracker is .*; one of tensorboard, mlflow, wandb"):
        FULL.fit(make_model(), task, epochs=1, tracker=choice)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_that_is_missing_is_told_before_training(name, task, make_model, monkeypatch):
    gone = PACKAGES[name][-1]
    real = tracking.find_spec
    monkeypatch.setattr(tracking, "find_spec", lambda n: None if n == gone else real(n) or n)
    model, seen = make_model(), []
    model.head.register_forward_pre_hook(lambda *_: seen.append(1))
    with pytest.raises(TrainingError, match=rf"needs {gone}, .*pip install 'coursekit\[trackers\]"):
        FULL.fit(model, task, epochs=1, tracker=[name])
    assert not seen


class Fails:
    """A tracker's library that breaks at one place; ``hang`` breaks by never coming back."""

    def __init__(self, place: str, hang: bool) -> None:
        self.place, self.hang, self.logged = place, hang, []

    def _at(self, place: str) -> None:
        if place == self.place:
            if self.hang:
                threading.Event().wait()
            raise SystemExit("the server is down")  # some libraries do not raise, they exit

    def start(self) -> None:
        self._at("start")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self._at("settings")

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        self.logged.append(step)
        if len(self.logged) == 5:
            self._at("middle")

    def finish(self) -> None:
        self._at("end")


@pytest.mark.parametrize("hang", [False, True], ids=["raises", "hangs"])
@pytest.mark.parametrize("place", ["start", "settings", "middle", "end"])
def test_a_tracker_that_fails_stops_nothing(
    place, hang, task, make_model, assert_same_bits, monkeypatch, capsys
):
    alone = FULL.fit(make_model(), task, epochs=2)
    rows: list[dict] = []
    book = Fails(place, hang)
    monkeypatch.setattr(tracking, "open_book", lambda name, where: book)
    monkeypatch.setattr(tracking, "PACKAGES", {"wandb": ()})
    monkeypatch.setattr(tracking, "WAIT_SECONDS", 0.3)
    began = time.monotonic()
    run = FULL.fit(make_model(), task, epochs=2, tracker=["wandb", rows.append])
    assert time.monotonic() - began < 60
    assert_same_bits(run, alone)
    assert len(rows) == len(run.history)
    assert [note for note in run.notes if "tracker" in note] == [
        "the tracker wandb failed and gets no more"
    ]
    reason = "no answer in 0.3 seconds" if hang else "the server is down"
    assert reason in capsys.readouterr().out
    if place == "middle":
        assert book.logged == [1, 2, 3, 4, 4]


def test_ctrl_c_while_a_tracker_is_waited_for_keeps_the_run(task, make_model, monkeypatch):
    monkeypatch.setattr(tracking, "open_book", lambda name, where: Fails("end", hang=True))
    monkeypatch.setattr(tracking, "PACKAGES", {"wandb": ()})

    def interrupted(self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tracking._Worker, "finish", interrupted)
    run = FULL.fit(make_model(), task, epochs=1, tracker="wandb")
    assert run.cost["epochs"] == 1
    assert "ctrl-C: the trackers have not been waited for" in run.notes


def test_training_that_fails_closes_the_trackers(task, make_model, monkeypatch):
    book = Fails("never", hang=False)
    ended: list[bool] = []
    monkeypatch.setattr(book, "finish", lambda: ended.append(True))
    monkeypatch.setattr(tracking, "open_book", lambda name, where: book)
    monkeypatch.setattr(tracking, "PACKAGES", {"wandb": ()})
    with pytest.raises(TrainingError, match=r"not a number|loss is"):
        replace(FULL, lr=1e30, warmup=0.0).fit(make_model(), task, epochs=2, tracker="wandb")
    assert ended == [True]


@pytest.mark.slow
@needs("langfuse")
def test_a_server_that_hangs_and_one_that_is_not_there(task, make_model, monkeypatch):
    monkeypatch.setattr(tracking, "WAIT_SECONDS", 1.0)
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-lf-test")
    hang = threading.Event()
    with langfuse_server(hang) as (url, _):
        for address, reason in ((url, "hangs"), ("http://127.0.0.1:9", "refuses")):
            monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", f"pk-lf-{reason}")  # a client of its own
            monkeypatch.setenv("LANGFUSE_BASE_URL", address)
            monkeypatch.setenv("LANGFUSE_HOST", address)
            run = FULL.fit(make_model(), tiny_task(), epochs=1, tracker="langfuse")
            assert run.cost["steps"] == 4, reason
            assert "the tracker langfuse failed and gets no more" in run.notes, reason
        hang.set()
