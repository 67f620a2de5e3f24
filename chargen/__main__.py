"""``python -m chargen`` is ``chargen``."""

import sys

from chargen.cli import main

sys.exit(main())
