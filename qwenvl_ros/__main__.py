"""`python -m qwenvl_ros VERB`."""

import sys

from qwenvl_ros.tools.cli import main

if __name__ == "__main__":
    sys.exit(main())
