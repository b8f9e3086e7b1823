"""`python -m fastloss`, the same program as the command `fastloss`."""

from fastloss._cli import program

program("python -m fastloss")
