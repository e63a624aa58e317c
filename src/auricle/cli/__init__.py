"""The command line. Each verb calls one public function.

Verbs are imported when they are called, and heavy libraries inside them: `--help` and lists answer at once, and the
thread policy is in the environment before torch reads it.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

# OpenMP threads that spin while they wait slow down two processes on the same cores 10 to 100 times; torch reads this
# when it is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from auricle.config import nearest
from auricle.errors import AuricleError, Terminated
from auricle.storage import FULL

# Verbs with commands of their own.
GROUPS = {"corpus": ("scan",), "data": ("list", "download"), "check": ("encoder", "objective", "recipe")}
# 128 + 13, the number of SIGPIPE: the exit code of a program that a closed pipe ends.
_PIPE_CLOSED = 141
# 128 + 15, likewise of SIGTERM.
_TERMINATED = 143

# verb -> (module of auricle.cli, function, summary); in the order of the overview.
VERBS: dict[str, tuple[str, str, str]] = {
    "corpus": ("corpora", "corpus", "Check recordings before training: `auricle corpus scan PATH`."),
    "data": ("data", "data", "List or download published data sets: `auricle data list`."),
    "pretrain": ("training", "pretrain", "Pre-train an encoder: `auricle pretrain RECIPE --data FOLDER --out RUN`."),
    "embed": ("corpora", "embed", "Turn clips into vectors: `auricle embed MODEL --data FOLDER --out FILE.parquet`."),
    "index": ("searching", "index", "Make a library to search: `auricle index MODEL --data FOLDER --out LIBRARY`."),
    "search": ("searching", "search", "Find sounds in a library: `auricle search LIBRARY --sound CALL.wav`."),
    "probe": ("evaluation", "probe", "Evaluate a frozen encoder: `auricle probe MODEL --task esc10 --data FOLDER`."),
    "finetune": ("evaluation", "finetune", "Train an encoder on labels: `auricle finetune MODEL --task TASK`."),
    "fit": ("fitting", "fit", "Make a model that answers: `auricle fit MODEL --data LABELLED --out models/owl`."),
    "predict": ("predicting", "predict", "Apply a fitted model: `auricle predict MODEL --data FOLDER --out hits.csv`."),
    "label": ("labelling", "label", "Label segments on a local page: `auricle label LIBRARY --classes owl`."),
    "zero-shot": ("text", "zero_shot", "Classify by texts: `auricle zero-shot MODEL --data FOLDER`."),
    "text-retrieval": ("text", "text_retrieval", "Search by captions: `auricle text-retrieval MODEL --data FOLDER`."),
    "study": ("studying", "study", "Answer a question by many pre-trainings: `auricle study methods --data FOLDER`."),
    "results": ("results", "results", "List, compare and export results: `auricle results RUN... --compare A B`."),
    "report": ("evaluation", "report", "Write one self-contained HTML page: `auricle report RUN...`."),
    "check": ("checking", "check", "Find the faults of your own parts: `auricle check encoder MODULE:CLASS`."),
    "recipes": ("methods", "recipes", "List the pre-training methods, or describe some: `auricle recipes [NAME]`."),
    "matrix": ("methods", "matrix", "Try every objective on every encoder: `auricle matrix [RECIPE]`."),
    "tasks": ("evaluation", "tasks", "List the tasks, or describe one: `auricle tasks [TASK]`."),
    "demo": ("training", "demo", "Pre-train, probe and report on the built-in corpus, in minutes."),
}  # fmt: skip

# What an interrupted verb has kept on the disk; `pretrain` says it itself.
_KEPT = {
    "embed": "clips are kept, except those of the last seconds",
    "predict": "stretches that are done are kept",
    "index": "rows are kept, except those of the last seconds",
    "probe": "tokens, finished folds and results are kept",
    "fit": "tokens of the clips are kept",
    "finetune": "finished trainings and the latest checkpoint of the last one are kept",
    "zero-shot": "finished results are kept",
    "text-retrieval": "finished results are kept",
}


def _overview() -> str:
    lines = [
        "usage: auricle [--plugin MODULE] COMMAND ...",
        "",
        "Pre-train, probe and compare self-supervised audio encoders.",
        "",
        *(f"  {name:<16}{summary}" for name, (_, _, summary) in VERBS.items()),
        "",
        "Where to begin: `auricle demo`, or `auricle corpus scan` with a folder of your own.",
        "`auricle COMMAND --help` lists the options of a command.",
        "--plugin MODULE imports a module of yours first, with recipes, encoders, probes, tasks or metrics.",
        "--config FILE gives any command its settings, as JSON or YAML by the names of its flags; flags override.",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0; 2 for a mistake that the user can fix; 130 when interrupted; 143 where SIGTERM stopped a training; 141 where the
    output's pipe was closed (`auricle recipes | head`), as for any program that a closed pipe ends.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(words)
    except BrokenPipeError:
        _drop_output()
        return _PIPE_CLOSED
    except SystemExit as end:
        # How `--help` and mistakes in the arguments end, and how rich does where it finds the pipe closed.
        if _drop_output() or isinstance(end.__context__, BrokenPipeError):
            return _PIPE_CLOSED
        raise
    closed = _drop_output()
    return code or (_PIPE_CLOSED if closed else 0)


def _run(words: list[str]) -> int:
    given = words
    try:
        plugins, words = _plugins(words)
        if not words or words[0] in ("-h", "--help"):
            print(_overview())
        elif words[0] == "--version":
            from importlib.metadata import version

            print(f"auricle {version('auricle')}")
        elif words[0] not in VERBS:
            inner = [f"{verb} {each}" for verb, inside in GROUPS.items() for each in inside]
            guess = nearest(words[0], [*VERBS, *inner], known=False) or f"; known: {', '.join(VERBS)}"
            raise AuricleError(f"there is no command {words[0]!r}{guess}")
        else:
            from auricle.plugins import load_plugins

            load_plugins(plugins)
            module, function, _ = VERBS[words[0]]
            verb: Callable[[Sequence[str]], None] = getattr(import_module(f"auricle.cli.{module}"), function)
            verb(_with_settings(words[0], [_dashed(word) for word in words[1:]]))
    except AuricleError as error:
        print(f"auricle: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise  # an OSError that is about no path of the user's
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        remedy = "free some space or write elsewhere" if error.errno in FULL else "check the path"
        print(f"auricle: {error.strerror or error}{where}: {remedy}", file=sys.stderr)
        return 2
    except Terminated:
        print("auricle: stopped by SIGTERM", file=sys.stderr)
        return _TERMINATED
    except KeyboardInterrupt:
        print("auricle: interrupted" + _continuation(words[0], given), file=sys.stderr)
        return 130
    return 0


def _continuation(verb: str, words: list[str]) -> str:
    """Return what is kept of an interrupted command, and the command that continues it; "" where neither is known."""
    if verb not in _KEPT:
        return ""
    more = ["--resume"] if verb in ("embed", "predict") and "--resume" not in words else []
    return f"; {_KEPT[verb]}. Continue with: {shlex.join(['auricle', *words, *more])}"


def inner_command(verb: str, argv: Sequence[str], usage: str) -> str | None:
    """Return which of a group's commands is called; None where its usage was printed instead.

    Raises:
        AuricleError: the group has no such command; the nearest is named.
    """
    if argv and argv[0] in GROUPS[verb]:
        return argv[0]
    if argv and argv[0] not in ("-h", "--help"):
        raise AuricleError(f"`auricle {verb}` has no command {argv[0]!r}{nearest(argv[0], GROUPS[verb])}")
    print(usage)
    return None


def _dashed(word: str) -> str:
    """Return a flag with dashes for underscores, the one spelling that the verbs compare with; other words as is."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def _with_settings(verb: str, words: list[str]) -> list[str]:
    """Return the words after a verb with `--config FILE` replaced by the settings of the file."""
    if verb == "pretrain" or not any(word == "--config" or word.startswith("--config=") for word in words):
        return words  # the flags of `pretrain` depend on the file
    from auricle.cli.arguments import expand

    first = 1 if verb in GROUPS else 0
    return [*words[:first], *expand(words[first:])]


def _plugins(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the modules that `--plugin` names, and the other words."""
    named: list[str] = []
    others: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--plugin":
            module = next(rest, None)
            if module is None:
                raise AuricleError("--plugin names no module; expected --plugin my_module")
            named.append(module)
        elif word.startswith("--plugin="):
            named.append(word.split("=", 1)[1])
        else:
            others.append(word)
    return named, others


def _drop_output() -> bool:
    """Return whether output is left for a closed pipe, and drop it: Python would complain about it as it ends."""
    closed = False
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            closed = True
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        except OSError:
            continue  # a full disk: the interpreter reports it as it ends, and exits with 120
    return closed
