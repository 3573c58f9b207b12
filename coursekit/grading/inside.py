"""Runs a notebook's cells inside the sandbox: the one file of grading that shares their process.

Reads one job from standard input and writes messages, one JSON object a line, to what was standard
output; the cells' own output goes to standard error. Nothing secret is in the job, and nothing that
is written here is believed by the reader without a look: the cells could have written it as well.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Send = Callable[[Mapping[str, Any]], None]
_MIMES = ("text/plain", "text/html", "image/png")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
MAX_DISPLAY = 1_000_000
MAX_ERROR = 4_000


def main() -> None:
    """Run the job on standard input, then end at once, whatever threads are left."""
    job = json.load(sys.stdin.buffer)
    channel = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    _limit(job["limits"])
    _write_records(job["records"])
    if job["profile"]:
        os.environ["COURSEKIT_PROFILE"] = job["profile"]
    send = _sender(channel)
    running = shell(send)
    _install_desk(send, job["exercises"], job["fresh"])
    for cell in job["cells"]:
        # In both pipes: the reader cannot know otherwise which of two came first.
        os.write(2, b"\x1e%d\x1e" % cell["number"])
        send({"kind": "begin", "cell": cell["number"]})
        ok, late = _run(running, cell["source"], job["limits"]["cell_seconds"])
        send({"kind": "end", "cell": cell["number"], "ok": ok, "late": late})
    send({"kind": "done"})
    sys.stdout.flush()
    os._exit(0)


def _limit(limits: Mapping[str, float]) -> None:
    """Lower the hard limits, which nothing in here can raise again."""
    # An error in here comes before the end; what there is by now is shared, or small.
    memory = int(limits["memory_bytes"]) * 7 // 8 + _data_now()
    wanted = {
        resource.RLIMIT_DATA: memory,
        resource.RLIMIT_AS: memory + 16 * 2**30,  # libraries map far more than they touch
        resource.RLIMIT_CPU: int(limits["cpu_seconds"]) + 1,
        resource.RLIMIT_FSIZE: int(limits["file_bytes"]),
        resource.RLIMIT_NOFILE: int(limits["open_files"]),
        resource.RLIMIT_NPROC: int(limits["processes"]),
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _data_now() -> int:
    """Bytes of private memory that this process has, touched or not."""
    try:
        found = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def _write_records(records: list[str]) -> None:
    """Put the harvested records where ``fit`` and ``predict_blind`` look for them."""
    folder = Path(os.environ["COURSEKIT_RECORDS"])
    for number, text in enumerate(records):
        place = folder / f"run-{number:02d}"
        place.mkdir(parents=True, exist_ok=True)
        name = "record.json" if "history" in json.loads(text) else "blind.json"
        (place / name).write_text(text, encoding="utf-8")


def _sender(channel: int) -> Send:
    owner = os.getpid()

    def send(message: Mapping[str, Any]) -> None:
        if os.getpid() != owner:
            return  # a forked child: its lines would tear those of this process apart
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(channel, data) :]

    return send


def _run(shell: Any, source: str, seconds: float) -> tuple[bool, bool]:
    """Run one cell; what it leaves undone after its time is interrupted as by a learner.

    Returns:
        Whether it ended without an error, and whether it was interrupted.
    """
    ok = False
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        ok = bool(shell.run_cell(source, store_history=True).success)
    except BaseException as error:
        shell.showtraceback((type(error), error, error.__traceback__))
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    sys.stdout.flush()
    sys.stderr.flush()
    return ok, left == 0


def shell(send: Send) -> Any:
    """IPython as a notebook has it, with its displays and errors sent over the channel."""
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    def show(kind: str, data: Mapping[str, Any], more: Mapping[str, Any]) -> None:
        kept = {m: str(data[m]) for m in _MIMES if isinstance(data.get(m), str)}
        small = {m: text for m, text in kept.items() if len(text) <= MAX_DISPLAY}
        send({"kind": kind, "data": small, **more})

    class Publisher(DisplayPublisher):
        def publish(self, data: Any, *_: Any, transient: Any = None, **more: Any) -> None:
            place = (transient or {}).get("display_id")
            place = place if isinstance(place, str) else ""
            update = bool(more.get("update"))
            show("display", data, {"display_id": place[:100], "update": update})

        def clear_output(self, wait: bool = False) -> None:
            send({"kind": "clear"})

    class Hook(DisplayHook):
        def write_output_prompt(self) -> None:
            return

        def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
            show("display", format_dict, {"display_id": "", "update": False})

    class Shell(InteractiveShell):
        def showtraceback(self, exc_tuple: Any = None, *args: Any, **more: Any) -> None:
            error = (exc_tuple or sys.exc_info())[1]
            if isinstance(error, MemoryError):  # no memory is left to draw a traceback with
                self._showtraceback(MemoryError, "the cell needs more memory than there is", ())
            else:
                super().showtraceback(exc_tuple, *args, **more)

        def _showtraceback(self, etype: Any, evalue: Any, stb: Any) -> None:
            lines = _ANSI.sub("", "\n".join(map(str, stb)))
            send(
                {
                    "kind": "error",
                    "name": str(getattr(etype, "__name__", etype))[:200],
                    "message": _ANSI.sub("", str(evalue))[:MAX_ERROR],
                    "traceback": lines[-MAX_ERROR:],
                }
            )

        def ask_exit(self) -> None:
            """``exit()`` ends no grading."""

    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor" if _ipython_major() >= 9 else "NoColor"
    return Shell.instance(config=config, display_pub_class=Publisher, displayhook_class=Hook)


def _ipython_major() -> int:
    import IPython

    return int(IPython.version_info[0])


def _install_desk(
    send: Send, exercises: Mapping[str, list[str]], fresh: Mapping[str, Mapping[str, Any]]
) -> None:
    """``ck.check`` hands answers over and judges nothing: that is done elsewhere."""
    import coursekit

    def check(exercise: str, *values: Any) -> None:
        """Hand in the answer to an exercise."""
        named = exercise if isinstance(exercise, str) else ""
        send({"kind": "answer", "exercise": named[:20], "answers": _plain(named, values)})

    def _plain(exercise: str, values: tuple[Any, ...]) -> dict[str, Any]:
        from coursekit.checks import find, to_plain
        from coursekit.checks.fresh import answers_to
        from coursekit.errors import AnswerError

        try:
            known = find(exercise)
            named = dict(zip(known.answers, values, strict=False))
            return known.hand_over(*values) | answers_to(fresh.get(exercise, {}), named)
        except AnswerError:  # an exercise of the instructor's own
            names = exercises.get(exercise, [])
            return {n: to_plain(v) for n, v in zip(names, values, strict=False)}

    coursekit.check = check  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
