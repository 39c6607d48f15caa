"""The command line: settings in, exit code out; the work is done in the rooms below.

Exit codes: 0 done, 1 done but for some photos, 2 bad input (one line on stderr), 130 interrupted,
143 terminated (``samrot web``).
"""

from __future__ import annotations

import importlib
import logging
import sys
import warnings
from collections.abc import Sequence

from jsonargparse import ArgumentError

from samrot.cli.console import say, say_warning
from samrot.cli.parsing import parse
from samrot.cli.table import COMMANDS, overview
from samrot.errors import InputError
from samrot.files import is_disk_full
from samrot.runtime.processes import another_failed, is_first_to_fail
from samrot.wording import did_you_mean


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; None takes the process's own.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:], "--help"]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return 0
    if arguments[0] == "--version":
        print(f"samrot {importlib.import_module('samrot').__version__}")
        return 0
    name, options = arguments[0], arguments[1:]
    if name not in COMMANDS:
        return _fail(
            f"unknown command {name!r}; expected one of: {', '.join(COMMANDS)}"
            + did_you_mean(name, COMMANDS)
        )
    warnings.showwarning = say_warning
    talk = logging.StreamHandler()
    talk.setFormatter(logging.Formatter("samrot: %(message)s"))
    logger = logging.getLogger("samrot")
    logger.addHandler(talk)
    logger.setLevel(logging.INFO)
    try:
        command = COMMANDS[name]
        return command.run(parse(name, command, options)) or 0
    except (InputError, ArgumentError) as error:
        return _fail(str(error))
    except RuntimeError:
        if another_failed():  # and took this process out of what they did together
            return 2
        raise
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        remedy = "; free some space and run the same command again"
        return _fail(f"{error.strerror or error}{place}{remedy if is_disk_full(error) else ''}")
    except KeyboardInterrupt:
        if is_first_to_fail():
            say("interrupted; run the same command again")
        return 130
    finally:
        logger.removeHandler(talk)


def _fail(message: str) -> int:
    if is_first_to_fail():
        say(f"error: {message}")
    return 2
