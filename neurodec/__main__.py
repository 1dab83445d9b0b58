"""``python -m neurodec``: the command line."""

import sys

from neurodec.cli import main

sys.exit(main())
