"""``python -m ensemble.cli``."""

from ensemble.cli import main

main()
