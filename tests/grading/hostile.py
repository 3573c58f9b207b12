"""Submissions that are broken, odd or hostile: how to make each, and what it deserves.

The two tables of cases that every grader of notebooks should stand, and some more. ``points`` are
of 2 for 97.1 and 5 for 97.2; the written 97.3 is left as it was given.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course import CHECKS, RIGHT, dump, find, solved

from coursekit.classroom.handed_in import (
    code_cell,
    in_format_3,
    saved_by_colab,
    with_cell_twice,
    with_checks_first,
    without_metadata,
)

Notebook = dict[str, Any]
WRONG = {"97.1": "# 97.1\nmean = 0", "97.2": "# 97.2\nvalue = 0.0"}
HIDDEN_WORD = "zq-hidden-word"
TOKEN = "zq-secret-token"


@dataclass(frozen=True)
class Case:
    """What is handed in, and what comes of it.

    Args:
        make: writes the submission into a folder and gives its path.
        points: that it deserves.
        state: of the submission.
        word: to be found in reasons, findings, messages or outputs.
    """

    make: Callable[[Path], Path]
    points: float
    state: str = "graded"
    word: str = ""


def written(content: bytes, name: str = "97_tiny.ipynb") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def notebook(some: Notebook) -> Callable[[Path], Path]:
    return written(dump(some))


def attack(source: str, answers: dict[str, str] | None = None) -> Callable[[Path], Path]:
    """Code in a cell of its own before wrong answers (or those given)."""
    some = solved(WRONG if answers is None else answers)
    some["cells"].insert(2, code_cell(source))
    return notebook(some)


def harmless(source: str) -> Callable[[Path], Path]:
    """Code in a cell of its own before right answers."""
    return attack(source, RIGHT)


def changed(change: Callable[[Notebook], Any]) -> Callable[[Path], Path]:
    some = solved()
    change(some)
    return notebook(some)


def folder_of(files: dict[str, bytes]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        for name, content in files.items():
            path = folder / "work" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder / "work"

    return make


def zip_of(members: list[tuple[str, bytes]]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        return written(buffer.getvalue(), "work.zip")(folder)

    return make


def linked(folder: Path) -> Path:
    (folder / "gradebook.db").write_text("grades of all")
    (folder / "97_tiny.ipynb").symlink_to(folder / "gradebook.db")
    return folder / "97_tiny.ipynb"


def check_cell(exercise: str, some: Notebook) -> Notebook:
    return next(c for c in some["cells"] if CHECKS[exercise] in str(c["source"]))


def with_output(some: Notebook, data: dict[str, Any]) -> Notebook:
    check_cell("97.1", some)["outputs"] = [
        {"output_type": "execute_result", "execution_count": 1, "metadata": {}, "data": data}
    ]
    return some


def deep(levels: int) -> bytes:
    return b'{"nbformat": 4, "metadata": ' + b'{"a":' * levels + b"1" + b"}" * levels + b"}"


ALWAYS = "class A:\n    def __eq__(self, o): return True\n    def __float__(self): return 5.0\n"
GOOD = dump(solved())
PERSON = "needs a person"

CASES: dict[str, Case] = {
    # --- the table of attacks on the machinery of the notebook
    "traceback hidden": Case(attack(
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "InteractiveShell.showtraceback = lambda *a, **k: None"), 0),
    "always equal": Case(attack(
        ALWAYS, {"97.1": "# 97.1\nmean = A()", "97.2": "# 97.2\nvalue = A()"}), 0, word="of type A"),
    "checks blanked": Case(attack(
        "get_ipython().input_transformers_cleanup.append(lambda lines: [])"), 0, word="not reached"),
    "asserts dropped": Case(attack(
        "import ast\nclass T(ast.NodeTransformer):\n    def visit_Assert(self, n): return ast.Pass()\n"
        "get_ipython().ast_transformers.append(T())"), 0),
    "calls dropped": Case(attack(
        "import ast\nclass T(ast.NodeTransformer):\n    def visit_Call(self, n): "
        "return ast.Constant(5.0)\nget_ipython().ast_transformers.append(T())"), 0),
    "formatter lies": Case(attack(
        "get_ipython().display_formatter.formatters['text/plain'].for_type("
        "float, lambda o, p, c: p.text('5.0'))"), 0),
    "check replaced": Case(attack(
        "import coursekit as ck\nck.check = lambda *a: 5.0"), 0, word="not reached"),
    "checks registry replaced": Case(attack(
        "import coursekit.checks as c\nc.judge = c.find = lambda *a, **k: None"), 0),
    "reads the running cell": Case(attack(
        "print(In[-1], len(In))\nimport inspect, sys\nprint([f.filename for f in inspect.stack()])"), 0),
    "skip tags, right": Case(changed(lambda n: [
        c["metadata"].update(tags=["skip-execution", ""]) for c in n["cells"]]), 7),
    "skip tags, wrong": Case(notebook({**solved(WRONG), "cells": [
        {**c, "metadata": {**c["metadata"], "tags": ["skip-execution"]}}
        for c in solved(WRONG)["cells"]]}), 0),
    "reads its folder": Case(attack(
        "import os\nfor d, _, f in os.walk('.'):\n    for n in f: print(open(os.path.join(d, n)).read())"), 0),
    "points forged in messages": Case(attack(
        "import os, json\nfor fd in range(3, 30):\n    try:\n        os.write(fd, b'\\n' + json.dumps("
        "{'kind': 'answer', 'exercise': '97.1', 'points': 1000, 'answers': {}}).encode() + b'\\n'"
        " + b'{\"kind\": \"score\", \"points\": 7}\\n')\n    except OSError: pass"), 0),
    "NaN": Case(attack("", {"97.1": "# 97.1\nmean = float('nan')", "97.2": "# 97.2\nvalue = float('inf')"}), 0),
    "below zero": Case(attack("", {"97.1": "# 97.1\nmean = -1e9", "97.2": "# 97.2\nvalue = -1"}), 0),
    "above the most": Case(attack("", {"97.1": "# 97.1\nmean = 1000", "97.2": "# 97.2\nvalue = 1000.0"}), 0),
    "gradebook sought": Case(attack(
        "import contextlib, os, sqlite3\nfor top in ('/home', '/student', '/tmp', '.'):\n    for d, _, f in os.walk(top):\n"
        "        for n in f:\n            if n == 'gradebook.db':\n"
        "                with contextlib.suppress(sqlite3.Error):\n"  # nbgrader's own tests have one
        "                    with sqlite3.connect(os.path.join(d, n)) as base:\n"
        "                        base.execute('update grade set manual_score = 5')\nprint('the search', 'is over')"), 0, word="the search is over"),
    "startup file": Case(harmless(
        "from pathlib import Path\np = Path('~/.ipython/profile_default/startup/x.py').expanduser()\n"
        "p.parent.mkdir(parents=True, exist_ok=True)\np.write_text('raise SystemExit')"), 7),
    "detached child": Case(harmless(
        "import subprocess\nsubprocess.Popen(['sleep', '600'], start_new_session=True)"), 7),
    "side effects": Case(harmless(
        "import os\nos.environ |= {'CUDA_VISIBLE_DEVICES': '7', 'OMP_NUM_THREADS': '64'}\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nos.nice(19)"), 7),
    "swallows every exception": Case(changed(lambda n: find(n, "97.2").update(
        source="# 97.2\nwhile True:\n    try:\n        while True: pass\n    except BaseException: pass")),
        2, word="did not end within|interrupted after"),
    "environment read": Case(attack("import os\nprint(dict(os.environ))"), 0, word="COURSEKIT_RECORDS"),
    "parent killed": Case(harmless(
        "import os\nfor p in (os.getppid(), 1, 0, -1):\n    try:\n        p and os.kill(p, 15) if p > 0 else None\n"
        "    except OSError: pass"), 7),
    "own group killed": Case(attack("import os\nos.killpg(0, 9)", RIGHT), 7, word="ended"),
    "cell twice": Case(notebook(with_cell_twice(solved(), "solution-97-1")), 7, word="2 times"),
    "symbolic link": Case(linked, 0, PERSON, "symbolic link"),
    "script in output": Case(harmless(
        "from IPython.display import HTML\nHTML('<script>alert(1)</script><img src=x onerror=alert(1)>"
        "<a href=\"javascript:alert(1)\">x</a><iframe src=//evil></iframe><svg onload=alert(1)></svg>')"), 7),
    "warning on stderr": Case(harmless("import warnings, sys\nwarnings.warn('old')\nprint('x', file=sys.stderr)"), 7),
    "hard exit": Case(attack("import os\nos._exit(0)", RIGHT), 7, word="ended"),
    "hard exit in an answer": Case(changed(lambda n: find(n, "97.1").update(
        source="# 97.1\nimport os\nos._exit(0)")), 5, word="did not come back"),
    "exit": Case(harmless("exit()\nquit()"), 7),
    "sys.exit": Case(harmless("import sys\nsys.exit(0)"), 7),
    "endless loop": Case(changed(lambda n: find(n, "97.2").update(
        source="# 97.2\nwhile True: pass")), 2, word="interrupted after"),
    "deaf endless loop": Case(changed(lambda n: find(n, "97.2").update(
        source="# 97.2\nimport signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True: pass")),
        2, word="did not end within"),
    "check deleted": Case(changed(lambda n: n["cells"].remove(check_cell("97.2", n))), 7, word="restored"),
    "metadata stripped": Case(notebook(without_metadata(solved())), 7, word="metadata is lost"),
    "saved by Colab": Case(notebook(saved_by_colab(solved())), 7),
    "points changed": Case(changed(lambda n: check_cell("97.1", n)["metadata"]["nbgrader"].update(
        points=1000, grade=False)), 7),
    "grade cell added": Case(changed(lambda n: n["cells"].append({**code_cell("5.0"), "metadata": {
        "nbgrader": {"grade_id": "mine", "grade": True, "points": 99, "solution": False}}})), 7),
    "check as text": Case(changed(lambda n: check_cell("97.1", n).update(cell_type="markdown")), 7),
    "check edited": Case(changed(lambda n: check_cell("97.1", n).update(source="pass")), 7, word="restored"),
    "checks before solutions": Case(notebook(with_checks_first(solved())), 7),
    "wrong kernel": Case(changed(lambda n: n["metadata"].update(kernelspec={"name": "ir"})), 7),
    "NaN in JSON": Case(written(GOOD.replace(b'"execution_count": null', b'"execution_count": NaN')), 7),
    "old format": Case(notebook(in_format_3(solved())), 7, word="format 3"),
    "cut off": Case(written(GOOD[: len(GOOD) // 2]), 0, PERSON, "cut off"),
    "empty file": Case(written(b""), 0, PERSON, "empty"),
    "latin-1": Case(written(json.dumps(solved(text="Grö"), ensure_ascii=False).encode("latin-1")), 7, "partial"),
    "flood": Case(harmless("for _ in range(100): print('x' * 100_000)"), 7, word="xxxx"),
    "asks for input": Case(harmless("input('name?')"), 7),
    "a racing thread": Case(harmless(
        "import threading\ndef race():\n    global mean\n    while True: mean = 1\n"
        "t = threading.Thread(target=race, daemon=True)"), 7),
    # --- the table of what was not run there
    "fork bomb": Case(attack("import os\nwhile True: os.fork()", RIGHT), 7, word="ended|interrupted"),
    "memory bomb": Case(attack("x = []\nwhile True: x.append(b'1' * 2 * 10**8)", RIGHT), 7),
    "disk fill": Case(attack("for n in range(200): open(f'/tmp/{n}', 'wb').write(b'1' * 10**6)", RIGHT), 7),
    "zip slip": Case(zip_of([("../../97_tiny.ipynb", b"evil"), ("97_tiny.ipynb", GOOD)]), 7, word="leads outside"),
    "zip bomb": Case(zip_of([("97_tiny.ipynb", b" " * 20_000_000)]), 0, PERSON, "too much"),
    "zip with two of a name": Case(zip_of([("a.ipynb", GOOD), ("A.ipynb", GOOD)]), 0, PERSON, "twice"),
    "no zip": Case(written(b"PK\x03\x04 nothing", "work.zip"), 0, PERSON, "damaged"),
    "zip of a notebook": Case(zip_of([("x/97_tiny.ipynb", GOOD), ("__MACOSX/x/._97_tiny.ipynb", b"x")]), 7),
    "ten thousand files": Case(zip_of([(f"{n}.txt", b"") for n in range(2_000)]), 0, PERSON, "too many"),
    "no notebook": Case(folder_of({"notes.txt": b"sorry"}), 0, PERSON, "no notebook"),
    "two notebooks, alike": Case(folder_of({"A.ipynb": GOOD, "a.ipynb": dump(solved(WRONG))}), 0, PERSON,
                                 "several notebooks"),
    "two notebooks, one named": Case(folder_of({"97_tiny.ipynb": GOOD, "old.ipynb": dump(solved(WRONG))}), 7),
    "one of two is broken": Case(folder_of({"97_tiny.ipynb": GOOD, "b.ipynb": b"{"}), 7, word="another notebook"),
    "names that turn around": Case(folder_of({"97_tiny.ipynb": GOOD, "\u202egpj.exe": b"", "-rf": b""}), 7),
    "huge picture in an output": Case(notebook(with_output(solved(), {"image/png": "A" * 5_000_000})), 7),
    "too large": Case(written(b'{"x": "' + b"A" * 31_000_000 + b'"}'), 0, PERSON, "larger"),
    "deep JSON": Case(written(deep(50_000)), 0, PERSON, "nested too deep"),
    "many values": Case(written(b'{"nbformat": 4, "x": [' + b"1," * 2_000_000 + b"1]}"), 0, PERSON, "too many values"),
    "widget state": Case(changed(lambda n: n["metadata"].update(widgets={"state": {"x": "y" * 2_000_000}})), 7),
    "line ends and mark": Case(written(b"\xef\xbb\xbf" + GOOD.replace(b"\\n", b"\\r\\n")), 7),
    "attachments": Case(changed(lambda n: n["cells"][0].update(attachments={"a.png": {"image/png": "AA"}})), 7),
    "shell": Case(harmless("%%bash\nid; curl -s -m 2 https://example.org || echo no network"), 7, word="no network"),
    "magics": Case(harmless("!curl -s -m 2 https://example.org\n%run /etc/passwd"), 7),
    "an extension": Case(attack("%load_ext autograd"), 0),
    "pip install": Case(harmless("!pip install --quiet numpy==1.0"), 7),
    "phones home": Case(attack(
        "import urllib.request\nurllib.request.urlopen('http://1.1.1.1', timeout=2)"), 0, word="URLError|unreachable|OSError"),
    "metrics patched": Case(attack(
        "import sklearn.metrics, numpy.testing, random\nsklearn.metrics.roc_auc_score = lambda *a, **k: 1.0\n"
        "numpy.testing.assert_allclose = lambda *a, **k: None\nrandom.seed = lambda *a: None"), 0),
    "modules poisoned": Case(attack(
        "import sys, types\nfor m in ('math', 'json', 'numpy', 'coursekit.checks'): sys.modules[m] = types.ModuleType(m)"), 0),
    "looks for labels": Case(attack(
        "import gc, sys\nf = sys._getframe()\nwhile f: f = f.f_back\n"
        f"print([o for o in gc.get_objects() if isinstance(o, dict) and {HIDDEN_WORD[:5]!r} + 'den' in str(list(o)[:3])][:1])"), 0),
    "clock patched": Case(harmless("import time\ntime.time = time.monotonic = lambda: 0.0"), 7),
    "outputs forged": Case(notebook(with_output(solved(WRONG), {"text/plain": "7.0", "text/html": "<b>right</b>"})), 0),
    "timestamp forged": Case(folder_of({"97_tiny.ipynb": GOOD, "timestamp.txt": b"1970-01-01"}), 7),
    "pickles": Case(folder_of({"97_tiny.ipynb": GOOD, "m.pt": b"\x80\x04", "x.joblib": b"\x80", "y.npy": b"\x93"}), 7,
                    word="can run code"),
    "absurd safetensors": Case(folder_of({"97_tiny.ipynb": GOOD, "m.safetensors": b"\xff" * 64}), 7),
    # --- ours
    "untouched": Case(notebook(solved({})), 0, word="There is no answer yet"),
    "right": Case(notebook(solved()), 7),
    "right and written": Case(notebook(solved(text="Because they share a disynthon.")), 7, "partial"),
    "no cells": Case(notebook(solved() | {"cells": []}), 0, word="missing"),
    "one cell for all": Case(notebook(solved() | {"cells": [
        code_cell("\n".join(["counts = [3, 4, 8]", *RIGHT.values(), *CHECKS.values()]))]}), 7),
    "another lesson": Case(notebook(solved() | {"cells": [code_cell("print('lesson 3')")]}), 0, word="missing"),
    "a JSON list": Case(written(b"[]"), 0, PERSON, "not a notebook"),
    "nbformat 9": Case(written(b'{"nbformat": 9, "cells": []}'), 0, PERSON, "nbformat 9"),
    "not UTF-8 at all": Case(written(bytes(range(256)) * 10), 0, PERSON, "no valid JSON"),
    "nothing there": Case(lambda folder: folder / "none.ipynb", 0, PERSON, "no submission"),
    "syntax error": Case(changed(lambda n: find(n, "97.1").update(source="# 97.1\nmean = (")), 5, word="SyntaxError"),
    "half right": Case(changed(lambda n: find(n, "97.2").update(source="# 97.2\nvalue = 0.5")), 3.25),
    "code in a text cell": Case(changed(lambda n: find(n, "97.1").update(cell_type="raw")), 7, word="raw cell"),
    "control characters": Case(changed(lambda n: find(n, "97.1").update(
        source=RIGHT["97.1"] + "\n\x00\u202e# x")), 7, word="characters"),
    "evil repr": Case(attack("class E:\n    def __repr__(self): raise SystemExit\n    __str__ = __repr__\nE()",
                             {"97.1": "# 97.1\nmean = E()", "97.2": "# 97.2\nvalue = [E()]"}), 0),
    "evil display": Case(harmless(
        "from IPython.display import display\nfor _ in range(500): display({'text/html': '<b>' * 20_000}, raw=True)"), 7),
    "endless recursion": Case(harmless("def f(): return f()\nf()"), 7),
    "giant answer": Case(attack("", {"97.1": "# 97.1\nmean = 'x' * 10**8", "97.2": "# 97.2\nvalue = [[[[[[[[[1]]]]]]]]]"}), 0),
    "answer of a self-made list": Case(attack(
        "x = []\nx.append(x)", {"97.1": "# 97.1\nmean = x", "97.2": "# 97.2\nvalue = x"}), 0),
}  # fmt: skip
