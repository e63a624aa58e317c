"""Every message with a remedy that can be typed is run by a test of this folder, or listed here with its reason."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from pathlib import Path

from test_named_things_exist import texts

from auricle.cli import VERBS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SOURCE = ROOT / "src" / "auricle"
# What can be typed to the letter: a flag, a command, an installation, a setting by its dotted name.
COMMAND = rf"\bauricle (?:{'|'.join(VERBS)}|\{{\}})\b"
TYPED = rf"(?<![\w-])--[a-z]|{COMMAND}|pip install|(?<![\w/])(?:train|loader|window)\.[a-z_]+"
WORDS = (
    "set|raise|lower|leave|add|use|choose|name|run|start|continue|write|read|make|exclude|repeat|take|try|resume|needs|"
    "expected|see|fine-tune|comes with|omit|begin"
)
ADVICE = re.compile(rf"\b(?:{WORDS})\b[^;]*?(?:{TYPED})|^; (?:`auricle|write --|--)", re.IGNORECASE)
# Texts of lists and pages: no messages.
LISTS = re.compile(r"^(?:tasks/cards/|corpus/published/(?!download)|recipes/(?:methods/|matrix)|report/page)")
# Reason -> messages that no test of this folder follows.
REASONS = {
    "what it advises shows in the numbers of a long training only": (
        "until accuracy leaves chance",
        "A teacher that follows too fast",
        "Nearly all tokens get one code",
        "A guess without any input is as good",
        "Repeating the last frame is as good",
        "the weights are those before the first of them",
        "steps were skipped, having no finite loss",
        "tensors hold weights that are not finite",
    ),
    "needs a full disk, a full memory or a folder that vanishes": (
        "free some space (or lower train.keep)",
        "or write the table elsewhere (--out)",
        "the device's memory is used up",
        "was deleted, moved or replaced while the run was training",
    ),
    "needs a server": (
        "set --trust-remote-code on the command line",
        "open the model by its name with --trust-remote-code",
        "set --trust-remote-code (in Python",
        "fetches it, or says how to get it",
        "the folder that holds its data sets",
    ),
    "needs an accelerator": ("set --precision auto or fp32",),
    "needs a model of transformers that is built for it (tests/encoders)": (
        "found no clip that is long enough for a token",
        "wrap it in your own callable",
    ),
    "says what was done": ("read from channel {}", "another run uses them with --previous", "Made by `auricle recipes"),
    "what is missing or damaged is made by the command that made it": (
        "expected the folder that `auricle finetune` wrote",
        "expected a file of `auricle finetune`",
        "or use a plug-in: import its module first",
        "has no classifier; fine-tune it first",
        "name folders of `auricle probe`",
        "expected the .npz of `auricle probe`",
        "expected the file that `auricle probe` writes",
        "continue it with --resume (Python: resume=True)",
        "can't be used, and no other was found for a window",
        "can be used for statistics; the last",
        "to find silent recordings",
        "repair those that `auricle corpus scan` lists",
    ),
    "of an objective in Python, whose tests hold the refusal (tests/objectives)": (
        "the farthest predicted one lies",
        "there is nothing to draw negatives from",
        "under gradient caching it would see micro-batches",
        "of the grid leave a clip of the batch without context",
        "no clip of the batch got a span",
        "and the target lies",
        "and leave train.micro_batch None",
        "and the decoder has learned positions for",
        "found no clip to cluster",
        "codes and tokens do not pair",
        "set --data to a corpus with audio",
        "or set the target's `previous` to that stage's settings",
        "or set --previous to the run folder of such a stage",
    ),
    "of a run that was changed under way, whose tests hold the refusal (tests/recipes, tests/training)": (
        "or name the run to use by --previous",
        "so their corpus is not known",
        "restore them, or start a new run in another --out",
        "nothing is left to resume. Probe it",
        "leave --resume out: the run made no step",
    ),
    "needs a trained encoder of audio and text (tests/evaluation, tests/test_cli_text.py)": (
        "Scores of them are not those of new clips",
        "which of its clips were seen is not known",
        "has the same tokens for the classes",
        "or a table of file,caption (--captions)",
    ),
    "one of two ways, of which a test follows the other, or a guess": (
        "brings it into the encoder's band",
        "set loader.buckets to 4 or more",
    ),
    "needs more clips, or linear layers, than a tiny corpus or encoder has": (
        "has its own probes; leave --probes out",
        "no linear layers to add low-rank updates to",
        "could be drawn so that no source stands on both sides",
    ),
}


def messages() -> list[tuple[str, str]]:
    """Each message with a remedy that can be typed: its place and text; parts that a run fills in are `{}`."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE).as_posix()
        nodes = [] if LISTS.match(place) else list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        passed = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        passed |= {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
        raised = {id(part) for node in nodes if isinstance(node, ast.Raise) for part in ast.walk(node)}
        for node in nodes:
            # Other texts of the command line are help.
            if id(node) in passed or (place.startswith("cli/") and id(node) not in raised):
                continue
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            else:
                continue
            if ADVICE.search(text):
                found.append((f"{place}:{node.lineno}", text))
    return found


def executed() -> set[str]:
    """Parts of the messages that tests of this folder provoke and follow (see `remedy_tools.executes`)."""
    modules = [importlib.import_module(file.stem) for file in HERE.glob("test_*.py")]
    return {part for module in modules for test in vars(module).values() for part in getattr(test, "remedies", ())}


def test_every_remedy_is_executed_or_has_a_reason() -> None:
    done, every = executed() | INSTALLED, messages()
    excused = {part for parts in REASONS.values() for part in parts}
    assert len(every) > 100
    missing = [f"{place} {text}" for place, text in every if not any(part in text for part in done | excused)]
    assert not missing, "run it in a test of this folder (executes), or say why not:\n" + "\n".join(missing)
    stale = [part for part in excused if not any(part in text for _, text in every)]
    stale += [part for part in done if not any(part in text for _, text in texts())]
    assert not stale, "no message has these parts any more:\n" + "\n".join(stale)
    twice = [text for _, text in every if any(p in text for p in done) and any(p in text for p in excused)]
    assert not twice, "both executed and excused:\n" + "\n".join(twice)


# An extra is installed by pip, which is not run here: the command is exact, and the extra exists.
INSTALLED = {"which needs an extra: pip install", "it comes with: pip install", "tensorboard package: pip install"}


def test_extras_are_installed_by_one_exact_command() -> None:
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    commands = [found for _, text in messages() for found in re.findall(r"pip install .*?(?=[;,]|$)", text)]
    assert len(commands) == len(INSTALLED)
    for command in commands:
        named = re.fullmatch(r"pip install 'auricle\[([a-z]+|\{\})\]'", command)
        assert named, command
        assert named[1] in extras | {"{}"}
