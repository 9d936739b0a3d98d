"""``python -m ensemble`` works like the command."""

from ensemble.cli import main

main()
