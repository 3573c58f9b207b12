"""nbgrader and formgrader for this course, with coursekit's engine behind their commands.

What can be set is in course.yaml. nbgrader's own settings may follow below, as in any
nbgrader_config.py; the folders, the gradebook and how a submission is run are coursekit's.
"""

from pathlib import Path

from coursekit.classroom.nbgrader_engine import install
from coursekit.grading.course import open_course

c = get_config()  # noqa: F821 - given by nbgrader
install(c, open_course(Path(__file__).parent))

# Where `nbgrader release_assignment`, `collect` and `release_feedback` exchange files with
# students on a shared machine; without it, files are put into submitted/ by hand.
# c.Exchange.root = "/srv/nbgrader/exchange"
