"""Recorded noise and rooms: levels, places and convolutions against slow loops, folders that are not as they should."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from audio_clips import RATE, noise, ragged, rms, seeded

from auricle.audio.augment.config import AugmentConfig, draw
from auricle.audio.batch import Audio
from auricle.audio.decode import decode
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.ops.recordings import Recordings, list_recordings
from auricle.audio.ops.wave_mixing import OverlapConfig
from auricle.audio.ops.wave_ops import WaveNoiseConfig
from auricle.audio.ops.wave_recorded import RecordedNoiseConfig, RecordedRoomConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.audio.views import PlainViewsConfig
from auricle.config import Config
from auricle.errors import CheckpointError, ConfigError

FRONT = LogMelConfig(mels=32, low=60.0, high=7800.0, n_fft=512, window=400, hop=160).build()


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Recordings shorter and longer than the clips, at other rates, below another folder, and one that is broken."""
    folder = tmp_path / "sounds"
    (folder / "more").mkdir(parents=True)
    soundfile.write(folder / "a.wav", noise(3000, seed=1), RATE)
    soundfile.write(folder / "b.flac", noise(44100, seed=2), 44100)
    soundfile.write(folder / "more" / "c.wav", noise(8000 * 65, seed=3), 8000)
    (folder / "broken.wav").write_bytes(b"RIFF0000")
    (folder / "notes.txt").write_text("no sound")
    return folder


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    """Two responses of two channels whose direct sound comes late."""
    folder = tmp_path / "rooms"
    folder.mkdir()
    for number, late in enumerate((120, 40)):
        response = 0.3 * noise(2000, 2, seed=number) * np.exp(-np.arange(2000) / 400)[:, None]
        response[:late] *= 0.1
        response[late] = 0.9
        soundfile.write(folder / f"{number}.wav", response, RATE, subtype="FLOAT")
    return folder


def test_noise_is_a_stretch_of_a_recording_at_its_ratio(sounds: Path) -> None:
    audio = ragged(*[9000, 5000, 7000] * 8)
    op = RecordedNoiseConfig(p=1.0, folder=str(sounds), snr_db=(-5.0, 30.0)).build()
    made, certified = op(audio, seeded())
    assert sorted(set(certified["noise_file"].tolist())) == [0, 1, 2]
    whole = [decode(path, rate=RATE) for path in (sounds / "a.wav", sounds / "b.flac", sounds / "more" / "c.wav")]
    for row, samples in enumerate(audio.lengths.tolist()):
        added = (made.wave[row, :samples] - audio.wave[row, :samples]).double()
        measured = 20 * math.log10(rms(audio.wave[row, :samples]) / rms(added))
        assert measured == pytest.approx(float(certified["noise_db"][row]), abs=0.02)
        assert not made.wave[row, samples:].any()
        # The stretch by a search over the whole recording, repeated where it is shorter than the clip.
        source = whole[int(certified["noise_file"][row])].astype(np.float64)
        source = np.tile(source, 4) if len(source) < samples else source
        places = np.lib.stride_tricks.sliding_window_view(source, 64) @ added[:64].numpy()
        place = int(np.argmax(places / np.linalg.norm(np.lib.stride_tricks.sliding_window_view(source, 64), axis=1)))
        piece = source[place : place + samples]
        assert np.corrcoef(piece, added[: len(piece)].numpy())[0, 1] > 0.999


def test_a_room_is_a_convolution_from_the_direct_sound_on(rooms: Path) -> None:
    audio = ragged(1500, 900, 1200, 1500)
    made, certified = RecordedRoomConfig(p=1.0, folder=str(rooms), longest=0.05).build()(audio, seeded(3))
    assert set(certified["room_file"].tolist()) == {0, 1}
    for row, samples in enumerate(audio.lengths.tolist()):
        response, _ = soundfile.read(rooms / f"{int(certified['room_file'][row])}.wav")
        response = response[int(np.abs(response[:, 0]).argmax()) :, 0][: round(0.05 * RATE)]
        clip = audio.wave[row, :samples].double().numpy()
        slow = np.zeros(samples)
        for late, factor in enumerate(response):
            slow[late:] += factor * clip[: samples - late]
        slow *= np.sqrt((clip**2).mean() / (slow**2).mean())
        np.testing.assert_allclose(made.wave[row, :samples].numpy(), slow, atol=1e-5)


@pytest.mark.parametrize("kind", ["noise", "rooms"])
def test_same_generator_same_sounds(kind: str, request: pytest.FixtureRequest) -> None:
    folder = str(request.getfixturevalue({"noise": "sounds", "rooms": "rooms"}[kind]))
    config = RecordedNoiseConfig(folder=folder) if kind == "noise" else RecordedRoomConfig(folder=folder)
    audio = ragged(*[2000] * 30)
    made, certified = config.build()(audio, seeded(1))
    again, _ = config.build()(audio, seeded(1))
    other, _ = config.build()(audio, seeded(2))
    assert torch.equal(made.wave, again.wave)
    assert not torch.equal(made.wave, other.wave)
    changed = (made.wave != audio.wave).any(1)
    assert 5 < int(changed.sum()) < 25
    (file,) = (value for name, value in certified.items() if name.endswith("file"))
    assert (file[~changed] == -1).all()
    silence, _ = config.replace(p=1.0).build()(Audio(torch.zeros(2, 400), torch.tensor([400, 1]), RATE), seeded())
    assert not silence.wave.any()


def test_degradations_leave_other_draws_and_the_reference_alone(sounds: Path, rooms: Path) -> None:
    audio = ragged(8000, 6000)
    noisy = {"noise": RecordedNoiseConfig(p=1.0, folder=str(sounds)), "room": RecordedRoomConfig(folder=str(rooms))}
    before = ViewPlanConfig(wave=(WaveNoiseConfig(),), clean=(1,))
    plain, clean = before.build(FRONT)(audio, 2, seeded())
    made, kept = before.replace(**noisy, mix=OverlapConfig(p=1.0)).build(FRONT)(audio, 2, seeded())
    assert torch.equal(made.certificate["snr_db"], plain.certificate["snr_db"])
    assert {"noise_file", "noise_db", "room_file", "partner"} <= made.certificate.keys()
    assert not torch.equal(made.features.x, plain.features.x)
    assert torch.equal(kept.features.x, clean.features.x)
    first, second = PlainViewsConfig(**noisy).build(FRONT)(audio, 2, seeded())
    assert not torch.equal(first.features.x, second.features.x)
    for view in (made, first, second):
        assert view.reference is not None
        assert torch.equal(view.reference.wave, audio.wave)


def test_audiomosaics_chain_takes_the_degraded_clip(sounds: Path) -> None:
    audio, noisy = ragged(8000, 6000), RecordedNoiseConfig(p=1.0, folder=str(sounds))
    front = KaldiFbankConfig(mels=32).build()
    views = AugmentConfig.off().replace(noise=noisy).build(front)(audio, 2, seeded())
    plain = PlainViewsConfig(noise=noisy).build(front)
    for view in views:
        assert view.reference is not None
        assert torch.equal(view.reference.wave, audio.wave)
        assert not view.certificate["noise_file"].eq(-1).any()
    # The same files at the same places, by the draws of a generator in the same state.
    generator = seeded()
    draw(AugmentConfig.off(), audio, 2, front, generator)
    for view, same in zip(views, plain(audio, 2, generator), strict=True):
        assert view.certificate["noise_file"].equal(same.certificate["noise_file"])
        torch.testing.assert_close(view.features.x, same.features.x, rtol=1e-3, atol=1e-3)


def test_files_that_can_not_be_read_are_skipped_and_named(sounds: Path) -> None:
    listed = list_recordings(str(sounds), "augment.noise.folder")
    assert [path.name for path, _ in listed.files] == ["a.wav", "b.flac", "c.wav"]
    (line,) = PlainViewsConfig(noise=RecordedNoiseConfig(folder=str(sounds))).check_folders()
    assert line.startswith("augment.noise.folder: skipped 1 file that can't be read (")
    assert "broken.wav" in line
    # A file that is damaged behind its header is found out later: the next one takes its place.
    whole = (sounds / "a.wav").read_bytes()
    recordings = Recordings(str(sounds), "augment.noise.folder")
    (sounds / "a.wav").write_bytes(b"")
    with pytest.warns(UserWarning, match="skipped .*a.wav"):
        found = recordings.stretch(0, 0.0, 100, RATE)
    np.testing.assert_array_equal(found, recordings.stretch(1, 0.0, 100, RATE))
    (sounds / "a.wav").write_bytes(whole)


def test_folders_are_checked_before_anything_runs(tmp_path: Path) -> None:
    for folder, words in (("none", "there is no such folder"), (".", "holds no recording: found 1 other file")):
        (tmp_path / "notes.txt").write_text("no sound")
        config = PlainViewsConfig(room=RecordedRoomConfig(folder=str(tmp_path / folder)))
        with pytest.raises(ConfigError, match=words):
            config.check_folders()
    assert PlainViewsConfig().check_folders() == ()


def test_settings_hold_the_absolute_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for config in (RecordedNoiseConfig(folder="sounds"), RecordedRoomConfig(folder="sounds")):
        assert config.folder == str(tmp_path / "sounds")  # type: ignore[attr-defined]
        assert Config.from_json(config.to_json()) == config
    assert RecordedNoiseConfig().folder == ""


def test_a_changed_folder_is_refused_on_resumption(sounds: Path) -> None:
    config = PlainViewsConfig(noise=RecordedNoiseConfig(folder=str(sounds)))
    state = config.build(FRONT).state_dict()
    config.build(FRONT).load_state_dict(state)
    soundfile.write(sounds / "d.wav", noise(300, seed=4), RATE)
    with pytest.raises(CheckpointError, match="have changed since the checkpoint"):
        config.build(FRONT).load_state_dict(state)


def test_a_silent_impulse_response_is_skipped(rooms: Path) -> None:
    """Its first channel is read: one with sound in the second only is silent, too."""
    response, _ = soundfile.read(rooms / "1.wav")
    soundfile.write(rooms / "0.wav", response * [0, 1], RATE, subtype="FLOAT")
    op, audio = RecordedRoomConfig(p=1.0, folder=str(rooms)).build(), ragged(*[2000] * 8)
    with pytest.warns(UserWarning, match=r"skipped .*0\.wav: silent: every sample is 0; remove it from the folder"):
        made, certified = op(audio, seeded())
    assert set(certified["room_file"].tolist()) == {0, 1}
    (rooms / "0.wav").unlink()
    only, _ = RecordedRoomConfig(p=1.0, folder=str(rooms)).build()(audio, seeded())
    torch.testing.assert_close(made.wave, only.wave)
    assert (made.wave.abs().amax(1) > 0.01).all()
    soundfile.write(rooms / "1.wav", np.zeros(100), RATE)
    silent = RecordedRoomConfig(p=1.0, folder=str(rooms)).build()
    with pytest.warns(UserWarning, match="silent"), pytest.raises(ConfigError, match="none of the 1 recording"):
        silent(audio, seeded())


def test_a_home_that_does_not_exist_is_a_setting_out_of_range() -> None:
    for config, setting in ((RecordedNoiseConfig, "noise"), (RecordedRoomConfig, "room")):
        with pytest.raises(ConfigError, match=rf"augment.{setting}.folder is ~no-one-here/a, and ~no-one-here is the"):
            config(folder="~no-one-here/a")


def test_links_in_circles_are_followed_once(sounds: Path) -> None:
    before = list_recordings(str(sounds), "augment.noise.folder")
    (sounds / "more" / "again").symlink_to(sounds, target_is_directory=True)
    assert list_recordings(str(sounds), "augment.noise.folder") == before
    # Links to other folders are followed.
    other = sounds.parent / "other"
    other.mkdir()
    soundfile.write(other / "d.wav", noise(300, seed=4), RATE)
    (sounds / "linked").symlink_to(other, target_is_directory=True)
    names = [path.name for path, _ in list_recordings(str(sounds), "augment.noise.folder").files]
    assert names == ["a.wav", "b.flac", "d.wav", "c.wav"]


def test_advice_is_about_the_folder(sounds: Path) -> None:
    (sounds / "picture.wav").write_bytes(b"\x89PNG" + bytes(100))
    soundfile.write(sounds / "zero.wav", np.zeros(0), RATE)
    listed = list_recordings(str(sounds), "augment.noise.folder")
    said = " ".join(listed.skipped)
    assert said.count("remove it from the folder") >= 2
    assert "corpus" not in said
    recordings = Recordings(str(sounds), "augment.noise.folder")
    (sounds / "a.wav").write_bytes(b"\x89PNG" + bytes(100))
    with pytest.warns(UserWarning, match="remove it from the folder"):
        recordings.whole(0, RATE)
