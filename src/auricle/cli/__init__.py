"""The command line. Each verb calls one public function.

Heavy imports happen inside the verbs, so that `--help` answers at once and so that the thread policy is in the
environment before torch reads it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

# OpenMP threads that spin while waiting make two processes on the same cores 10 to 100 times slower than one;
# this must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from auricle.cli.checking import check
from auricle.cli.corpora import corpus, embed
from auricle.cli.data import data
from auricle.cli.evaluation import finetune, probe, report, tasks
from auricle.cli.methods import matrix, recipes
from auricle.cli.results import results
from auricle.cli.text import text_retrieval, zero_shot
from auricle.cli.training import demo, pretrain
from auricle.config import nearest
from auricle.errors import AuricleError
from auricle.storage import FULL

# 128 + 13, the number of SIGPIPE: what a shell reports for a program that a closed pipe ends.
_READER_LEFT = 141

VERBS: dict[str, Callable[[Sequence[str]], None]] = {
    "corpus": corpus,
    "data": data,
    "pretrain": pretrain,
    "embed": embed,
    "probe": probe,
    "finetune": finetune,
    "zero-shot": zero_shot,
    "text-retrieval": text_retrieval,
    "results": results,
    "report": report,
    "check": check,
    "recipes": recipes,
    "matrix": matrix,
    "tasks": tasks,
    "demo": demo,
}


def _overview() -> str:
    lines = [
        "usage: auricle COMMAND ...",
        "",
        "Pre-train, probe and compare self-supervised audio encoders.",
        "",
    ]
    lines += [f"  {name:<16}{(verb.__doc__ or '').splitlines()[0]}" for name, verb in VERBS.items()]
    lines += ["", "`auricle COMMAND --help` says more."]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0; 2 for a mistake that the user can mend; 130 when interrupted; 141 where the reader of the output has gone
    (`auricle recipes | head`), as for a program that the closed pipe ends.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(words)
    except BrokenPipeError:
        _let_go()
        return _READER_LEFT
    except SystemExit as end:
        # How `--help` and mistakes in the arguments end, and how rich does where it finds the pipe closed.
        if _let_go() or isinstance(end.__context__, BrokenPipeError):
            return _READER_LEFT
        raise
    left = _let_go()
    return code or (_READER_LEFT if left else 0)


def _run(words: list[str]) -> int:
    try:
        if not words or words[0] in ("-h", "--help"):
            print(_overview())
        elif words[0] == "--version":
            from importlib.metadata import version

            print(f"auricle {version('auricle')}")
        elif words[0] not in VERBS:
            raise AuricleError(f"no command {words[0]!r}{nearest(words[0], VERBS)}")
        else:
            VERBS[words[0]](words[1:])
    except AuricleError as error:
        print(f"auricle: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise  # an OSError, but no path of the user's is at fault
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        remedy = "free some space or write elsewhere" if error.errno in FULL else "check the path"
        print(f"auricle: {error.strerror or error}{where}: {remedy}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("auricle: interrupted", file=sys.stderr)
        return 130
    return 0


def _let_go() -> bool:
    """Say whether output is left for a pipe that nobody reads any more, and let it go nowhere.

    Python would write it once more as it ends, and complain.
    """
    left = False
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            left = True
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        except OSError:
            continue  # a full disk: the interpreter says so as it ends, and exits with 120
    return left
