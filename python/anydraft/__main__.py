"""`python -m anydraft`."""

import sys

from anydraft.cli import main

if __name__ == "__main__":
    sys.exit(main())
