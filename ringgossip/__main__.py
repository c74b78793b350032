"""What does `python -m ringgossip` do? The same as the command `ringgossip`."""

import sys

from ringgossip.cli import main

sys.exit(main())
