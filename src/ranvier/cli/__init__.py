"""The command line: ``ranvier train digits`` and its companions, one file per verb.

``main.py`` reads the arguments and turns errors into messages and exit codes; the verbs import what they need only
when they run, so that ``ranvier --help`` answers at once.
"""

from ranvier.cli.main import main

__all__ = ["main"]
