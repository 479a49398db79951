"""What ``python -m skcyto`` does."""

from skcyto.command_line._main import main

__all__ = ["main"]
