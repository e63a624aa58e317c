"""The server of the page: who is answered, what is escaped, what a tab is told."""

from __future__ import annotations

import http.client
import io
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile
from bad_input_command import FullDisk
from made_labels import TOKEN, Truth, made_library, opened, served

import auricle
from auricle.answers.label_segments import read_sound
from auricle.answers.label_server import FILES, PAGE, bound
from auricle.answers.library import Library
from auricle.cli import main
from auricle.errors import CheckpointError, ConfigError
from auricle.training.lock import RunLock


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    return made_library(tmp_path_factory.mktemp("made"))


@pytest.fixture
def library(made: tuple[Path, Truth], tmp_path: Path) -> Path:
    return shutil.copytree(made[0], tmp_path / "library")


class Client:
    """Asks a server as a browser does."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        assert parts.port
        self.port, self.path = parts.port, parts.path

    def raw(
        self, name: str = "", method: str = "GET", body: bytes | None = None, path: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, (self.path if path is None else path) + name, body, headers)
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    def json(self, name: str, data: Any = None) -> dict[str, Any]:
        body = None if data is None else json.dumps(data).encode()
        found = json.loads(self.raw(name, "GET" if data is None else "POST", body)[2])
        assert isinstance(found, dict)
        return found


def test_only_this_machine_with_the_token_is_answered(library: Path) -> None:
    with served(opened(library)) as address:
        client = Client(address)
        status, headers, body = client.raw()
        assert status == 200
        assert b'<script src="page.js" defer></script>' in body
        assert client.raw(Host=f"localhost:{client.port}")[0] == 200
        assert client.raw(Host="127.0.0.1")[0] == 200  # through a tunnel, under another port
        for path in ("/", "/wrong/", f"/{TOKEN[:-1]}/", f"//{TOKEN}/", f"/../{TOKEN}/", "/%00/", "/%c3%a4/"):
            status, headers, body = client.raw("state?tab=t", path=path)
            assert status == 403, path
            assert b"segments" not in body
            assert "default-src 'none'" in headers["content-security-policy"]
        # A page whose name was rebound to this address, a page of another site, and one of another port.
        for refused in (
            {"Host": f"evil.example:{client.port}"}, {"Host": ""}, {"Host": f"127.0.0.1.evil.example:{client.port}"},
            {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": f"http://127.0.0.1:{client.port + 1}"},
        ):  # fmt: skip
            assert client.raw("state?tab=t", **refused)[0] == 403, refused
        assert client.raw("state?tab=t", Origin=f"http://127.0.0.1:{client.port}")[0] == 200
        assert client.raw("label", "GET")[0] == 405
        for name in ("../page.html", "..%2fpage.js", "label_server.py", "sound/1.wav/x", "sound/-1.wav"):
            assert client.raw(name)[0] == 404, name
    listening = bound(0)
    assert listening.getsockname()[0] == "127.0.0.1"
    listening.close()


def test_nothing_is_loaded_from_elsewhere() -> None:
    for name in FILES.values():
        text = (PAGE / name).read_text(encoding="utf-8")
        assert set(re.findall(r"(?:https?:)?//[\w.]+[\w/.]*", text)) <= {"http://www.w3.org/2000/svg"}
        assert "innerHTML" not in text
    page = (PAGE / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"\son\w+=|\sstyle=|<script>|<style>", page)


def test_headers(library: Path) -> None:
    with served(opened(library)) as address:
        client = Client(address)
        for name in ("", "page.css", "page.js", "icon.svg", "state?tab=t", "sound/3.wav", "picture/3.png"):
            status, headers, _ = client.raw(name)
            assert status == 200
            policy = headers["content-security-policy"]
            assert "unsafe" not in policy
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; ")
            assert "frame-ancestors 'none'" in policy
            wanted = {
                "x-content-type-options": "nosniff",
                "referrer-policy": "no-referrer",
                "cache-control": "no-store",
            }
            assert wanted.items() <= headers.items()
            assert "access-control-allow-origin" not in headers
            assert "server" not in headers


def test_a_segment_is_heard_and_seen_with_its_context(library: Path, made: tuple[Path, Truth]) -> None:
    labelling = opened(library)
    with served(labelling) as address:
        client = Client(address)
        row = next(r for r in range(len(labelling.segments)) if labelling.segments.key(r).start == 2.0)
        key = labelling.segments.key(row)
        about = client.json(f"segment?row={row}")["segment"]
        assert (about["file"], about["start"], about["end"]) == key
        assert (about["begin"], about["seconds"], about["slowed"]) == (1.0, 3.0, 1.0)
        wave, rate = soundfile.read(io.BytesIO(client.raw(f"sound/{row}.wav")[2]), dtype="float32")
        whole, native = soundfile.read(made[0].parent / "recordings" / key.file, dtype="float32")
        assert rate == native
        np.testing.assert_allclose(wave, whole[rate : 4 * rate], atol=2e-5)
        picture = client.raw(f"picture/{row}.png")[2]
        assert picture.startswith(b"\x89PNG")
        assert picture == read_sound(labelling.library, int(labelling.segments.ids[row]), 1.0).picture


def test_slowed_recordings_keep_their_own_clock(tmp_path: Path) -> None:
    library, _ = made_library(tmp_path, time_expansion=2.0)
    sound = read_sound(Library.open(library), 7, 0.25)
    assert (sound.rate, sound.slowed) == (8000, 2.0)
    assert len(sound.wave) / sound.rate / sound.slowed == pytest.approx(1.5)


def test_a_tab_is_told_what_another_one_labelled(library: Path) -> None:
    with served(opened(library)) as address:
        client = Client(address)
        row = client.json("next?tab=a&way=random")["segment"]["row"]
        mine = client.json("label", {"row": row, "labels": ["owl"], "origin": "random", "tab": "a"})
        assert mine == {"number": 1, "replaced": None, "due": True}
        seen = client.json("state?tab=a&since=1")
        assert seen["others"] == []
        theirs = client.json("label", {"row": row, "labels": [], "origin": "highest", "tab": "b", "seen": 0})
        assert theirs["replaced"] == {"number": 1, "row": row, "classes": ["owl"], "tab": "a"}
        told = client.json("state?tab=a&since=1")
        assert told["others"] == [{"number": 2, "row": row, "classes": [], "tab": "b"}]
        assert (told["labels"], told["counts"]["owl"], told["background"]) == (1, 0, 1)
        # Who knew of the other's label replaces it without a word.
        assert (
            client.json("label", {"row": row, "labels": ["fox"], "origin": "highest", "tab": "a", "seen": 2})[
                "replaced"
            ]
            is None
        )
        assert client.json("undo", {"tab": "a"})["segment"]["label"]["classes"] == []


def test_odd_requests_are_refused_in_words_and_change_nothing(library: Path) -> None:
    labelling = opened(library)
    with served(labelling) as address:
        client = Client(address)
        odd = [
            ("label", {"row": 10**9, "labels": [], "origin": "random", "tab": "t"}, "there is no segment 1000000000"),
            ("label", {"row": "x", "labels": [], "origin": "random", "tab": "t"}, "row is no whole number"),
            ("label", {"row": 1, "labels": ["eel"], "origin": "random", "tab": "t"}, "there is no class 'eel'"),
            ("label", {"row": 1, "labels": "owl", "origin": "random", "tab": "t"}, "labels are neither"),
            ("label", {"row": 1, "labels": [], "origin": "me", "tab": "t"}, "origin is 'me'; expected one of margin"),
            ("label", {"row": 1, "labels": [], "origin": "random", "tab": 5}, "tab is missing, or no text"),
            ("undo", [], "the request is no JSON object"),
        ]
        for name, data, message in odd:
            assert message in client.json(name, data)["error"]
        for body in (b"{", b"\xff", b"[" * 60000):
            assert json.loads(client.raw("label", "POST", body)[2])["error"] == "the request is no JSON object"
        assert "too large" in json.loads(client.raw("label", "POST", b" " * 70000)[2])["error"]
        assert "way is 'best'" in client.json("next?tab=t&way=best")["error"]
        assert client.json("state?tab=t&threshold=nan")["labels"] == 0
        assert client.json("fit", {"tab": "t", "threshold": 10**400}) == {"error": "threshold is no number"}
    assert labelling.log.last == 0


def test_many_tabs_at_once_lose_nothing(library: Path) -> None:
    labelling = opened(library)
    with served(labelling) as address:

        def work(tab: str) -> None:
            client = Client(address)
            for number in range(12):
                segment = client.json(f"next?tab={tab}&way=margin")["segment"]
                client.json(
                    "label",
                    {
                        "row": segment["row"],
                        "labels": ["owl"] if number % 2 else [],
                        "origin": segment["origin"],
                        "tab": tab,
                    },
                )
                if number % 4 == 3:
                    client.json("fit", {"tab": tab})

        threads = [threading.Thread(target=work, args=(f"tab{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(labelling.log.labels) == 48
    again = opened(library)
    assert again.log.labels == labelling.log.labels
    assert again.log.damage == []


def test_a_full_disk_is_said_and_the_label_can_be_given_again(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labelling = opened(library)
    with served(labelling) as address:
        client = Client(address)
        label = {"row": 5, "labels": ["owl"], "origin": "highest", "tab": "t"}
        disk = FullDisk(monkeypatch, "labels.jsonl")
        status, _, body = client.raw("label", "POST", json.dumps(label).encode())
        assert status == 507
        assert "no space left" in json.loads(body)["error"]
        assert "the label was not saved" in json.loads(body)["error"]
        disk.full = False
        assert client.json("label", label)["number"] == 1


def test_a_recording_that_is_gone_can_be_skipped(library: Path, made: tuple[Path, Truth], tmp_path: Path) -> None:
    shutil.copytree(made[0].parent / "recordings", tmp_path / "recordings")
    auricle.index("toy_library:Bands", tmp_path / "recordings", tmp_path / "own", segment=1.0, progress=False)
    labelling = opened(tmp_path / "own")
    gone = labelling.segments.key(0).file
    (tmp_path / "recordings" / gone).unlink()
    with served(labelling) as address:
        client = Client(address)
        assert gone in client.json("segment?row=0")["segment"]["broken"]
        assert client.raw("sound/0.wav")[0] == 404
        assert client.json("label", {"row": 0, "labels": None, "origin": "random", "tab": "t"})["number"] == 1


def test_a_port_in_use_is_refused(library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["label", str(library), "--classes", "owl", "--port", str(port)]) == 2
        assert f"port {port} can't be used (Address already in use)" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="port 70000 can't be used"):
        bound(70000)


def test_a_second_server_of_the_same_labels_is_refused(library: Path) -> None:
    with RunLock(library / ".labels.jsonl.open"), pytest.raises(CheckpointError, match="labels that another process"):
        auricle.label(library, classes=["owl"])


def test_the_command_serves_until_it_is_interrupted(library: Path) -> None:
    command = [sys.executable, "-m", "auricle.cli", "label", str(library), "--classes", "owl"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(3)]
        address = said[1].removeprefix("Label at ").strip()
        assert len(urlsplit(address).path) > 24
        client = Client(address)
        assert client.json("label", {"row": 5, "labels": ["owl"], "origin": "highest", "tab": "t"})["number"] == 1
        process.send_signal(2)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert out.split("\n")[-2] == f"1 label in {library / 'labels.jsonl'}"
    assert len(opened(library).log.labels) == 1
