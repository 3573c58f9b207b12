"""Where a notebook runs, and how something is shown there."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

CONTROLS = "application/vnd.jupyter.widget-view+json"
"""Kind of an output that ipywidgets draw where a kernel runs, and nobody elsewhere."""


def front_end() -> str:
    """What shows this notebook: "Colab", "VS Code", "JupyterLab", "Jupyter", "IPython", "Python".

    "Jupyter" stands for Notebook, for another server, and for a notebook run from the command
    line. The front end itself tells nothing to a kernel; this goes by the traces it leaves.
    """
    shell = _shell()
    if "google.colab" in sys.modules:
        return "Colab"
    if shell is None:
        return "Python"
    if not getattr(shell, "kernel", None):
        return "IPython"
    names = getattr(shell, "user_ns", {})
    if "__vsc_ipynb_file__" in names or "VSCODE_PID" in os.environ:
        return "VS Code"
    return "JupyterLab" if "jupyter-lab" in _parent_command() else "Jupyter"


def in_notebook() -> bool:
    """Whether cells show HTML here."""
    return front_end() not in ("IPython", "Python")


def show(html: str, text: str) -> None:
    """Show HTML in a notebook and text elsewhere; both are kept in a notebook.

    Args:
        html: what a front end renders.
        text: the same in words.
    """
    if not in_notebook():
        print(text)
        return
    from IPython.display import display

    display({"text/html": html, "text/plain": text}, raw=True)  # type: ignore[no-untyped-call]


def _shell() -> Any:
    # Looked up and not imported: outside of IPython nothing is to be loaded for this.
    return getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()


def _parent_command() -> str:
    """The command line of the server that started this kernel, where Linux tells it."""
    server = os.environ.get("JPY_PARENT_PID", "")
    with suppress(OSError, ValueError):
        return Path(f"/proc/{int(server)}/cmdline").read_text(errors="replace")
    return ""
