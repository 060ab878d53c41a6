"""The ``ranvier`` command: its parser, and what becomes of errors.

Results go to the standard output, messages to the standard error. An error of the user or of the machine is one
message without a traceback (``--traceback`` shows it).

==== ===========================================================
code meaning
==== ===========================================================
0    done
1    failed; the message says why
2    the command line was wrong; nothing was done
130  interrupted (Ctrl-C); ``train`` keeps what was learned
141  whoever was reading the output went away
==== ===========================================================
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

from ranvier.cli.arguments import Parser, common
from ranvier.cli.datasets import add as add_datasets
from ranvier.cli.evaluate import add as add_evaluate
from ranvier.cli.explain import add as add_explain
from ranvier.cli.predict import add as add_predict
from ranvier.cli.train import add as add_train
from ranvier.errors import RanvierError, UserError

__all__ = ["EXIT_CODES", "build_parser", "main"]

EXIT_CODES = {
    0: "done",
    1: "failed; the message on the standard error says why",
    2: "the command line was wrong; nothing was done",
    130: "interrupted (Ctrl-C); `train` keeps what was learned",
    141: "whoever was reading the output went away",
}

_VERBS = (add_train, add_predict, add_evaluate, add_explain, add_datasets)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command, with a subcommand for each verb."""
    from ranvier.version import __version__

    codes = "\n".join(f"  {code:<4} {meaning}" for code, meaning in EXIT_CODES.items())
    parser = Parser(
        prog="ranvier",
        description="Train neural networks, look inside them, and use them.",
        examples=(
            "ranvier train digits",
            "ranvier evaluate runs/digits-20260301-120000 digits",
            "ranvier predict runs/digits-20260301-120000 pictures.npy",
            "ranvier explain runs/digits-20260301-120000",
        ),
        after=f"exit codes:\n{codes}",
    )
    parser.add_argument("--version", action="version", version=f"ranvier {__version__}", help="print the version")
    common(parser, default=False)
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND", title="commands", parser_class=Parser)
    for add in _VERBS:
        add(verbs)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the arguments without the program's name; by default those of the process.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without some character shows "?" instead of failing
    parser = build_parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as end:  # argparse has printed the help or the error
        return end.code if isinstance(end.code, int) else 2
    if args.verb is None:
        parser.print_help()
        return 0
    return _guarded(args)


def _guarded(args: argparse.Namespace) -> int:
    """Run the verb; whatever goes wrong becomes a message and a code."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            code = int(args.run(args))
            sys.stdout.flush()
        except KeyboardInterrupt:
            _report(args, "interrupted")
            return 130
        except BrokenPipeError:
            # Nobody reads any more. What is still in the buffer goes nowhere, so that Python's exit stays silent.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except Exception as error:  # noqa: BLE001 - the last door before the user: every error becomes a message
            _report(args, describe_error(error))
            return 1
    return code


def describe_error(error: BaseException) -> str:
    """An error as the message a user of the command line needs."""
    if isinstance(error, UserError):
        return error.message  # without the calling program's line, which is Ranvier's own here
    if isinstance(error, OSError):
        reason = error.strerror or str(error) or type(error).__name__
        return f"{error.filename}: {reason}" if error.filename else reason
    if isinstance(error, MemoryError):
        return "not enough memory. Try a smaller --batch-size or --hidden."
    kind = "" if isinstance(error, RanvierError) else f"{type(error).__name__}: "
    return f"{kind}{error}\nThis is a defect of Ranvier. Run again with --traceback and report what it prints."


def _report(args: argparse.Namespace, message: str) -> None:
    if getattr(args, "traceback", False):
        traceback.print_exc()
    print(f"ranvier: {message}", file=sys.stderr)


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    """Warnings without the file and line of the library that raised them."""
    text = message.message if isinstance(message, UserError) else str(message)
    print(f"ranvier: warning: {text}", file=sys.stderr)
