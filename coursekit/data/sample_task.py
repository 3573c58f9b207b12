"""``python -m coursekit.data.sample_task``: make the course's task of the bundled sample again.

It comes with the kit, as making it takes five seconds and more in each process that asks for it.
"""

from __future__ import annotations

from coursekit.data.paths import bundled
from coursekit.data.task import READY, course_task

if __name__ == "__main__":
    course_task("sample").save(bundled() / READY)
