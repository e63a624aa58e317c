"""How the verbs read their arguments."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
import sys
import textwrap
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from auricle.cli import grammar
from auricle.config import flatten, nearest, setting_fault
from auricle.devices import Device, Precision
from auricle.errors import ConfigError

Arguments = TypeVar("Arguments")

MODEL = (
    "Model: run folder, checkpoint, fine-tuned folder, `hf:user/name` (any audio encoder of transformers), "
    "`zoo:FAMILY:FILE` (a published checkpoint file), or `module:Class` of your own."
)
# Arguments without a flag; a settings file may hold them by these names.
_POSITIONAL = ("model", "library", "path", "paths", "runs", "name")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileArguments:
    """What every verb takes."""

    config: Path | None = None
    """JSON or YAML file of settings by the names of the flags (nested, or with dots); flags override it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeviceArguments(FileArguments):
    """What every verb that computes takes."""

    device: Device = "auto"
    """Where to compute: `auto` takes CUDA, then Apple's MPS, then the CPU."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComputeArguments(DeviceArguments):
    """What every verb that computes takes, where its settings have no precision of their own."""

    precision: Precision = "fp32"
    """`fp32`, `bf16` (autocast), or `auto`: bf16 where the GPU or the processor computes in it, else fp32."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadingArguments(FileArguments):
    """How recordings are read; for every verb that opens some."""

    channel: str | None = None
    """Channel that is read: `mix` (the mean of all, the default), `loudest`, or a number from 0."""
    time_expansion: float | None = None
    """How many times slower recordings are played to the encoder, for ultrasound (`10`: 40 kHz arrives at 4 kHz)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrustArguments(FileArguments):
    """What every verb that opens models of the Hub takes."""

    features: str = "recipe"
    """What is read of the encoder: `recipe`, as the recipe of the run says (of other models the output); `output`, its
    own vector of the last layer; `layers`, mean and deviation of every layer."""
    trust_remote_code: bool = False
    """Run the Python code that a Hub repository brings, or that a fitted model names; only if you trust its authors."""


def parse(
    arguments: type[Arguments],
    argv: Sequence[str],
    verb: str,
    about: str,
    leading: str | None = None,
    brief: Sequence[str] | None = None,
) -> Arguments:
    """Read a verb's arguments into a dataclass; `--help` and mistakes end the program as tyro does.

    Args:
        arguments: the dataclass.
        argv: the words after the verb, settings files expanded (`expand`).
        verb: of the command.
        about: what it does.
        leading: the first word of `argv` where the flags depend on it: it is no argument any more, and mistakes refer
            to its own help.
        brief: settings of groups that `--help` shows (see `grammar.brief`), where only `--help-all` shows all.

    Raises:
        ConfigError: a setting is out of range, or the file of settings holds one that is unknown or of another type.
    """
    if leading is not None:
        verb, argv = f"{verb} {leading}", argv[1:]
    words = list(argv)
    file = value_of("--config", words)
    if file is not None:
        _check_file(Path(file), arguments, verb)
    everything = "--help-all" in words
    if everything:
        words = ["--help"]
    short = brief is not None and not everything and bool({"-h", "--help"} & set(words))
    shown: Any = grammar.brief(arguments, brief) if short and brief is not None else arguments
    if everything or {"-h", "--help"} & set(words):
        shown = grammar.own_first(shown)
    # A setting that may be absent is a group of flags like any other where its default is there.
    config = (tyro.conf.AvoidSubcommands,)
    if everything or {"-h", "--help"} & set(words):
        # tyro does not wrap its description.
        print(textwrap.fill(about, shutil.get_terminal_size().columns, break_on_hyphens=False), end="\n\n")
    try:
        found: Arguments = tyro.cli(
            shown, args=words, prog=f"auricle {verb}", description="", config=config, registry=grammar.registry()
        )
    except SystemExit:
        if short:
            print(f"`auricle {verb} --help-all` shows all settings.")
        raise
    return found


def _check_file(file: Path, arguments: type, verb: str) -> None:
    """Refuse settings of a file that the verb does not have, or of another type.

    Raises:
        ConfigError: naming the file, the setting, and what was expected.
    """
    known = {name.replace("-", "_"): hint for name, hint in grammar.settings_of(arguments)}
    for name, value in flatten(read_settings(file)).items():
        key = name.replace("-", "_")
        if key.rpartition(".")[2] == "kind":
            continue
        if key not in known:
            raise ConfigError(
                f"--config {file} has the setting {name}, and `auricle {verb}` has none of that name"
                f"{nearest(key, known)}"
            )
        if typing.get_origin(known[key]) is tuple:
            value = tuple(_several(value))
        # A path or a text may look like a number.
        fault = setting_fault(
            str(value) if known[key] is str and type(value) in (int, float) else value, known[key], name
        )
        if fault and value is not None:
            raise ConfigError(f"--config {file}: {fault}; correct the file")


def no_arguments(verb: str, argv: Sequence[str], about: str) -> None:
    """Refuse arguments of a verb that takes none."""
    parse(FileArguments, argv, verb, about)


def expand(argv: Sequence[str]) -> list[str]:
    """Return the words after a verb with `--config FILE` replaced by the file's settings as flags.

    They come first, so that the flags of the command line override them.

    Raises:
        ConfigError: the file can't be read, or holds no settings.
    """
    file = value_of("--config", argv)
    if file is None:
        return list(argv)
    rest = without("--config", argv)
    # It stays on the command line: errors about its settings name it.
    rest += ["--config", file]
    held = read_settings(Path(file))
    count = next((place for place, word in enumerate(rest) if word.startswith("-")), len(rest))
    named, rest = rest[:count], rest[count:]
    first = [str(word) for key in _POSITIONAL if key in held for word in _several(held[key])]
    flags: list[str] = []
    for name, value in flatten({key: value for key, value in held.items() if key not in _POSITIONAL}).items():
        flag = name.replace("_", "-")
        if name.rpartition(".")[2] == "kind":
            continue  # names the class of settings that auricle wrote
        if isinstance(value, bool):
            head, _, last = flag.rpartition(".")
            flags.append(f"--{flag}" if value else f"--{head}{'.' if head else ''}no-{last}")
        else:
            flags += [f"--{flag}", *(str(word) for word in _several(value))]
    return [*(named or first), *flags, *rest]


def read_settings(file: Path) -> dict[str, Any]:
    """Read a JSON or YAML file of settings.

    Raises:
        ConfigError: it can't be read, or holds no settings by name.
    """
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix.lower() in (".yaml", ".yml"):
            import yaml

            try:
                held = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise ValueError(" ".join(str(error).split())) from error
        else:
            held = json.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--config {file} can't be read ({error}); expected JSON, or YAML (.yaml)") from error
    if not isinstance(held, Mapping) or not all(isinstance(key, str) for key in held):
        raise ConfigError(f"--config {file} holds no settings by name; expected for example `seeds: 3`")
    if held.get("trust_remote_code") or held.get("trust-remote-code"):
        raise ConfigError(f"--config {file} can't set trust_remote_code; set --trust-remote-code on the command line")
    return dict(held)


def value_of(flag: str, argv: Sequence[str]) -> str | None:
    """Return the value that a flag has on the command line (the last one), None if it isn't there."""
    found = None
    for i, word in enumerate(argv):
        if word == flag and i + 1 < len(argv):
            found = argv[i + 1]
        elif word.startswith(flag + "="):
            found = word.split("=", 1)[1]
    return found


def without(flag: str, argv: Sequence[str]) -> list[str]:
    """Return the words without a flag and its value."""
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word == flag:
            next(words, None)
        elif not word.startswith(flag + "="):
            rest.append(word)
    return rest


def command() -> str:
    """Return the command line as a record keeps it."""
    return shlex.join(["auricle", *sys.argv[1:]])


def _several(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else (value,)
