"""Formulas as MathML, which browsers draw and screen readers read without any script."""

from __future__ import annotations

from html import escape
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert


def _inline(self: Any, node: nodes.math) -> None:
    self.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _block(self: Any, node: nodes.math_block) -> None:
    ids = "".join(f'<span id="{escape(name)}"></span>' for name in node.get("ids", ()))
    formula = convert(node.astext(), display="block")
    self.body.append(f'<div class="formula" tabindex="0">{ids}{formula}</div>\n')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
