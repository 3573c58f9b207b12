"""Controls above one picture: what they are set to is also a Python value, and can be set as one.

An explorer leaves two outputs in a notebook. The controls are core ipywidgets, which only a running
kernel can serve; a sentence stands in for them elsewhere. Below them picture, words and table are
plain HTML under a display id, with the picture as an ``<img>`` with alternative text: they are
still there when the notebook is saved, opened untrusted, or turned into a page.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from html import escape
from typing import TYPE_CHECKING, Any

from coursekit.errors import CourseKitError
from coursekit.lessons.front_end import CONTROLS, in_notebook

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from ipywidgets import Widget

STAND_IN = "The controls of this picture work where this cell has been run."


class Explorer(ABC):
    """Controls, and what they show.

    A subclass makes its controls, hands them to ``_follow``, and says in ``words`` and ``html``
    what their setting means.
    """

    def __init__(self) -> None:
        from ipywidgets import VBox

        self.controls = VBox()
        self._handles: list[Any] = []

    @property
    @abstractmethod
    def value(self) -> Any:
        """What the controls are set to, as a Python value."""

    @abstractmethod
    def words(self) -> str:
        """What the setting means, in sentences."""

    @abstractmethod
    def html(self) -> str:
        """Picture, words and table as they are now."""

    def _follow(self, *controls: Widget) -> None:
        """Draw again whenever one of these changes."""
        for control in controls:
            control.observe(self._changed, "value")

    def _changed(self, change: Any = None) -> None:
        if self._handles:
            bundle = self._bundle()
            for handle in self._handles:
                handle.update(bundle, raw=True)

    def _bundle(self) -> dict[str, str]:
        try:
            return {"text/html": self.html(), "text/plain": self.words()}
        except CourseKitError as error:  # a setting that does not go: said, and mended by another
            said = str(error)
            return {"text/html": f"<p><strong>{escape(said)}</strong></p>", "text/plain": said}

    def __str__(self) -> str:
        return self.words()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.value}>"

    def _ipython_display_(self) -> None:
        if not in_notebook():
            print(self)
            return
        from IPython.display import display

        view = {"version_major": 2, "version_minor": 0, "model_id": self.controls.model_id}
        stand_in = {"text/html": f"<p><em>{STAND_IN}</em></p>", "text/plain": STAND_IN}
        display({CONTROLS: view, **stand_in}, raw=True)  # type: ignore[no-untyped-call]
        shown = display(self._bundle(), raw=True, display_id=True)  # type: ignore[no-untyped-call]
        self._handles.append(shown)


class Waiting:
    """Stands where an explorer will be, once the exercises it needs are done.

    Args:
        name: of the function that was called.
    """

    value = None

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return (
            f"{self.name} opens here when what it needs is no longer `...`: do the exercises "
            "above, and run this cell again."
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>{escape(str(self))}</p>"


def unfinished(*values: Any) -> bool:
    """Whether one of the values is still the placeholder of an exercise."""
    inside = [v for value in values if isinstance(value, dict) for v in value.values()]
    return any(value is ... for value in (*values, *inside))


def choice(label: str, options: Sequence[Any], value: Any) -> Any:
    """A list to choose from, with its name before it."""
    from ipywidgets import Dropdown

    return Dropdown(options=options, value=value, description=label, **_look())


def few_values(label: str, values: Sequence[Any], value: Any, names: Any = str) -> Any:
    """A list of values in order, among which the given one is, whatever it is."""
    known = values if value in values else sorted({*values, value})
    return choice(label, [(names(one), one) for one in known], value)


def whole_number(label: str, low: int, high: int, value: int) -> Any:
    """A field for a whole number; arrow keys count up and down."""
    from ipywidgets import BoundedIntText

    return BoundedIntText(value=value, min=low, max=high, description=label, **_look("14em"))


def number(label: str, low: float, high: float, value: float, step: float) -> Any:
    """A field for a number; arrow keys move it by a step."""
    from ipywidgets import BoundedFloatText

    look = _look("16em")
    return BoundedFloatText(value=value, min=low, max=high, step=step, description=label, **look)


def slider_for(field: Any) -> Any:
    """A slider that moves with a field, for those who use a mouse.

    Sliders have no name that a screen reader could say; the field has, so the two go together.
    """
    from ipywidgets import FloatSlider, IntSlider, Layout
    from traitlets import link

    kind = IntSlider if isinstance(field.value, int) else FloatSlider
    slider = kind(
        value=field.value,
        min=field.min,
        max=field.max,
        step=field.step,
        readout=False,
        continuous_update=False,
        layout=Layout(width="22em"),
    )
    # Front ends add up steps, and send 0.17999999999999 for 0.18.
    link((field, "value"), (slider, "value"), transform=(lambda v: v, lambda v: round(v, 9)))
    return slider


def button(label: str, press: Any) -> Any:
    """A button with a word on it, that calls ``press()``."""
    from ipywidgets import Button

    made = Button(description=label)
    made.on_click(lambda _: press())
    return made


def row(*controls: Widget) -> Any:
    """Controls side by side, which go on below each other where the page is narrow."""
    from ipywidgets import HBox, Layout

    return HBox(children=controls, layout=Layout(flex_flow="row wrap"))


def table_html(table: pd.DataFrame, caption: str, first: str = "") -> str:
    """A small table of texts with named rows, for the HTML of an explorer.

    Args:
        table: of texts; its index names the rows.
        caption: what the table is.
        first: name of the first column.
    """
    head = "".join(f'<th scope="col">{escape(str(c))}</th>' for c in [first, *table.columns])
    body = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th>'
        + "".join(f"<td>{escape(str(value))}</td>" for value in values)
        + "</tr>"
        for name, values in zip(table.index, table.to_numpy(), strict=True)
    )
    return (
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _look(width: str = "24em") -> dict[str, Any]:
    return {"style": {"description_width": "initial"}, "layout": {"width": width}}
