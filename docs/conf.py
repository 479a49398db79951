"""Sphinx configuration."""

import sys
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))

from api_pages import annotated_names, write_api_pages  # noqa: E402
from inventories import write_inventories  # noqa: E402
from samples import write_readme_code, write_samples  # noqa: E402
from source_links import linkcode_resolve  # noqa: E402, F401
from sphinx_gallery.sorting import ExplicitOrder  # noqa: E402

from skcyto import __version__  # noqa: E402

project = "skcyto"
author = "The skcyto developers"
copyright = "2026, The skcyto developers"
release = __version__
version = __version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.linkcode",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = [
    "_build",
    "_extensions",
    "_generated",
    "gallery/**/*.ipynb",
    "gallery/**/*.py",
    "**/sg_execution_times.rst",
    "sg_execution_times.rst",
]
templates_path = ["_templates"]

myst_enable_extensions = ["attrs_block", "colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_typehints = "none"
autodoc_inherit_docstrings = True
# The class template lists every method with its parameters; a table of them would say it twice.
numpydoc_show_class_members = False
toc_object_entries_show_parents = "hide"

intersphinx_mapping = write_inventories(HERE / "_generated" / "inventories")
intersphinx_timeout = 10
# Inherited docstrings refer to scikit-learn's own glossary and labels.
suppress_warnings = ["ref.term", "ref.ref"]

copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# MathJax as one file beside the pages: they are read on machines without network, too.
_mathjax = Path(import_module("sphinx-mathjax-offline").__file__).parent / "static" / "mathjax"
mathjax_path = "tex-svg.js"

html_theme = "pydata_sphinx_theme"
html_title = "skcyto"
html_static_path = ["_static", str(_mathjax / "tex-svg.js")]
html_css_files = ["skcyto.css"]
html_extra_path = ["_generated/site"]
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "navbar_start": ["navbar-logo", "version"],
    "logo": {"text": "skcyto"},
    "header_links_before_dropdown": 5,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc", "sourcelink"],
    "icon_links": [
        {
            "name": "GitHub",
            "url": "https://github.com/skcyto/skcyto",
            "icon": "fa-brands fa-github",
        }
    ],
}
html_sidebars = {"index": [], "search": []}

sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "subsection_order": ExplicitOrder(
        [
            f"../examples/gallery/{theme}"
            for theme in (
                "images",
                "scans",
                "imbalance",
                "comparing",
                "searching",
                "explaining",
                "handing_on",
            )
        ]
    ),
    "within_subsection_order": "FileNameSortKey",
    "doc_module": ("skcyto",),
    "reference_url": {"skcyto": None},
    "backreferences_dir": "_generated/backreferences",
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,
    "plot_gallery": "True",
}

# Now, and not in an event: autosummary looks for the pages as soon as the build begins.
write_api_pages(HERE / "api" / "generated")
write_readme_code(HERE / "_generated")
write_samples(HERE / "_generated")
_ANNOTATED = set(annotated_names())


def skip_annotated(app, what, name, obj, skip, options):
    """Leave out attributes that a class only annotates: its docstring describes them."""
    return True if name in _ANNOTATED else None


def setup(app):
    """Register what autosummary asks."""
    app.connect("autodoc-skip-member", skip_annotated)
