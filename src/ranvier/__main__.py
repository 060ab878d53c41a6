"""``python -m ranvier``: the command line, for when the ``ranvier`` script is not on the search path."""

import sys

from ranvier.cli import main

if __name__ == "__main__":
    sys.exit(main())
