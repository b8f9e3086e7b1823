"""`python -m fastloss`, the same program as the command `fastloss`."""

import sys

from fastloss._cli import main

sys.exit(main(prog="python -m fastloss"))
