"""`python -m collab_agent` is `collab-agent`."""

import sys

from .cli import main

sys.exit(main())
