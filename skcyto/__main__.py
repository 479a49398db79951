"""Entry of ``python -m skcyto``."""

import sys

from skcyto.command_line import main

if __name__ == "__main__":
    sys.exit(main())
