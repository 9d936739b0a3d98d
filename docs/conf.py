"""How ``make site`` makes the site from these pages and from docstrings.

Nothing is fetched, neither to build the site nor to read it.
"""

from __future__ import annotations

import ensemble

project = "preference-ensemble"
author = "The preference-ensemble authors"
copyright = author  # noqa: A001 - the name that Sphinx reads
version = release = ensemble.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
default_role = "literal"
# Code without a language is not taken for Python.
highlight_language = "text"

# A heading can be linked to by its words, as in the repository.
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = False

html_theme = "furo"
html_title = f"preference-ensemble {release}"
html_copy_source = False
html_show_sourcelink = False
