"""Profiles: how much work a lesson does, so that it fits the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from coursekit.errors import CourseKitError

T = TypeVar("T")

ORDER = ("quick", "cpu", "t4", "full")


@dataclass(frozen=True)
class Profile:
    """A named amount of work.

    Args:
        name: "quick", "cpu", "t4" or "full".
        about: one line for the learner.
    """

    name: str
    about: str

    def pick(self, values: dict[str, T]) -> T:
        """The value for this profile; one that is not named takes that of the next smaller one.

        Raises:
            CourseKitError: a name that is no profile, or none for this profile or a smaller one.
        """
        unknown = set(values) - set(ORDER)
        if unknown:
            raise CourseKitError(f"pick: {sorted(unknown)} are no profiles; there are {ORDER}")
        smaller = [name for name in ORDER[: ORDER.index(self.name) + 1] if name in values]
        if not smaller:
            raise CourseKitError(f"pick: there is nothing for profile {self.name!r} in {values}")
        return values[smaller[-1]]


PROFILES = {
    "quick": Profile("quick", "every step, with as little training as shows it"),
    "cpu": Profile("cpu", "the lesson as written, on a processor"),
    "t4": Profile("t4", "the lesson as written, on a GPU of 15 GB in mixed precision"),
    "full": Profile("full", "more epochs and more seeds, on a large GPU"),
}


def profile_named(name: str) -> Profile:
    """The profile of this name.

    Raises:
        CourseKitError: there is none.
    """
    if name not in PROFILES:
        raise CourseKitError(f"there is no profile {name!r:.40}; there are {', '.join(ORDER)}")
    return PROFILES[name]
