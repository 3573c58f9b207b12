"""The handbook: plain Sphinx, built and read without a network."""

from coursekit.version import __version__

project = "coursekit"
author = "The coursekit developers"
copyright = "2026, the coursekit developers"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "make_demo_files.py"]
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "sphinx_book_theme"
html_title = "coursekit"
html_theme_options = {"show_toc_level": 2, "use_download_button": False}
