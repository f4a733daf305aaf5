"""Runs the ``routoo`` command as ``python -m routoo.cli``."""

import sys

from routoo.cli import main

sys.exit(main())
