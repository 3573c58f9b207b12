"""The site: handbook, lessons and reference, built and read without a network."""

import sys
import tomllib
from pathlib import Path

from coursekit.version import __version__

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))

project = "coursekit"
author = "The coursekit developers"
copyright = "2026, the coursekit developers"
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "lesson_pages",
    "mathml",
]
exclude_patterns = ["_build", "_ext"]
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Where the notebooks are published: [project.urls] Repository in pyproject.toml, once there is one.
PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
lesson_repository = PROJECT.get("urls", {}).get("Repository", "")

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "sphinx_book_theme"
html_title = "coursekit"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_theme_options = {
    "show_toc_level": 2,
    "max_navbar_depth": 1,
    "navbar_persistent": [],
    "use_download_button": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
