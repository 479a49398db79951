"""A comparison as one page of HTML (`templates`), as tables in Markdown and as LaTeX.

May import `_plot` and `_results`.
"""
