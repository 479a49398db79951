"""A comparison as one page of HTML, as tables and as LaTeX."""
