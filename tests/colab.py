"""What Colab and VS Code do to a notebook that they save, and kernels that reach no network."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any


def saved_by_colab(notebook: Any) -> dict[str, Any]:
    """Format 4.0, ids of its own, metadata that it does not know dropped, long texts as lines."""
    data: dict[str, Any] = json.loads(json.dumps(copy.deepcopy(notebook)))
    data["nbformat_minor"] = 0
    data["metadata"] = {"colab": {"provenance": []}, "kernelspec": {"name": "python3"}}
    for number, cell in enumerate(data["cells"]):
        cell.pop("id", None)
        cell["metadata"] = {"id": f"aB{number}xYz", "outputId": "77", "colab": {"height": 90}}
        cell["source"] = _lines(cell["source"])
        for output in cell.get("outputs", []):
            for kind, text in output.get("data", {}).items():
                output["data"][kind] = _lines(text)
            if "metadata" in output:
                output["metadata"] = {}
    return data


def saved_by_vs_code(notebook: Any) -> dict[str, Any]:
    """Format 4.2 without ids, sources as lines, a language in each cell; metadata is kept."""
    data: dict[str, Any] = json.loads(json.dumps(copy.deepcopy(notebook)))
    data["nbformat_minor"] = 2
    data["metadata"]["language_info"] = {"name": "python", "version": "3.12.3"}
    for cell in data["cells"]:
        cell.pop("id", None)
        cell["metadata"]["vscode"] = {"languageId": "python"}
        cell["source"] = _lines(cell["source"])
        for output in cell.get("outputs", []):
            for kind, text in output.get("data", {}).items():
                output["data"][kind] = _lines(text)
    return data


def _lines(text: Any) -> Any:
    return text.splitlines(keepends=True) if isinstance(text, str) else text


OFFLINE = """
import sys

def refuse_other_machines(event, args):
    if event == "socket.connect":
        host = args[1][0] if isinstance(args[1], tuple) else "localhost"
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    else:
        return
    if host not in (None, "", "localhost", "127.0.0.1", "::1", b"localhost"):
        raise OSError(f"no network in this test: {host}")

sys.addaudithook(refuse_other_machines)
"""


def offline(folder: Path) -> dict[str, str]:
    """Environment variables with which kernels reach no other machine, and pip no registry."""
    startup = folder / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00-offline.py").write_text(OFFLINE, encoding="utf-8")
    return {"IPYTHONDIR": str(folder), "PIP_NO_INDEX": "1", "HF_HUB_OFFLINE": "1"}
