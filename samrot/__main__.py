"""``python -m samrot``."""

import sys

from samrot.cli import main

sys.exit(main())
