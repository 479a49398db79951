"""What ``skcyto`` and ``python -m skcyto`` do."""

from skcyto.command_line._main import main

__all__ = ["main"]
