"""`build/differences.py` says which file and why; `build/verify_reproducible.py` makes two builds that differ."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.unit.build import samples

found = samples.load("differences")
verify = samples.load("verify_reproducible")
unpacking = samples.load("unpack")
layer = samples.load("layer")

LAUNCHER = "extensions/datadog-agent"


def write(path: Path, **files: bytes) -> Path:
    entries = {LAUNCHER: b"launcher", "fliptop/manifest.json": b'{"version": "1"}', "fliptop/a.so": b"library"}
    entries |= {name.replace("__", "/"): data for name, data in files.items()}
    layer.write_zip([layer.Entry(name, data) for name, data in sorted(entries.items())], path)
    return path


def differences(tmp_path: Path, one: dict[str, bytes], other: dict[str, bytes]) -> str:
    return "\n".join(found.differences(write(tmp_path / "1.zip", **one), write(tmp_path / "2.zip", **other)))


def test_the_same_is_the_same(tmp_path: Path) -> None:
    assert differences(tmp_path, {}, {}) == ""
    assert verify.main(["--compare", str(tmp_path / "1.zip"), str(tmp_path / "2.zip")]) == 0


def test_names_the_file_the_place_and_the_path_that_got_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = b"\0" * 100 + b"/home/ann/fliptop/x.c\0tail", b"\0" * 100 + b"/srv/build/fliptop/x.c\0tail"
    told = differences(tmp_path, {"fliptop__a.so": one}, {"fliptop__a.so": other})
    assert "fliptop/a.so: differs from offset 0x65 on, sizes 126 and 127" in told
    assert "only in one of them: /home/ann/fliptop/x.c, /srv/build/fliptop/x.c" in told
    assert verify.main(["--compare", str(tmp_path / "1.zip"), str(tmp_path / "2.zip")]) == 1
    assert "fliptop/a.so: differs" in capsys.readouterr().err


def test_names_the_section_of_a_program(tmp_path: Path) -> None:
    source = tmp_path / "a.c"
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", f"{samples.ARCH}-linux-musl", "-shared", "-nostdlib"]
    texts = {}
    for stamp in ("2026-11-22 10:00", "2026-11-23 11:30"):
        source.write_text(f'__attribute__((section(".stamp"), used)) static const char made[] = "{stamp}";\n')
        subprocess.run([*zig, "-o", str(tmp_path / "a.so"), str(source)], check=True, timeout=50)
        texts[stamp] = (tmp_path / "a.so").read_bytes()
    one, other = texts.values()
    told = differences(tmp_path, {"fliptop__a.so": one}, {"fliptop__a.so": other})
    assert "in section .stamp" in told
    assert "only in one of them: 2026-11-22 10:00, 2026-11-23 11:30" in told


def test_names_the_section_that_moved_everything(tmp_path: Path) -> None:
    source = tmp_path / "a.c"
    source.write_text("int answer(void) { return 42; }\n")
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", f"{samples.ARCH}-linux-musl", "-shared", "-nostdlib"]
    texts = []
    for place in ("/srv/python/lib", "/home/ann/fliptop/python/lib"):
        subprocess.run([*zig, f"-Wl,-rpath={place}", "-o", str(tmp_path / "a.so"), str(source)], check=True, timeout=50)
        texts.append((tmp_path / "a.so").read_bytes())
    told = differences(tmp_path, {"fliptop__a.so": texts[0]}, {"fliptop__a.so": texts[1]})
    assert "sections of other sizes: .dynstr (" in told
    assert "only in one of them: /home/ann/fliptop/python/lib, /srv/python/lib" in told


def test_names_the_keys_of_json(tmp_path: Path) -> None:
    one, other = ({"version": "1", "files": {"a": "1", "b": value}, "arch": "x"} for value in ("2", "3"))
    told = differences(
        tmp_path,
        {"fliptop__manifest.json": json.dumps(one).encode()},
        {"fliptop__manifest.json": json.dumps(other).encode()},
    )
    assert told == "fliptop/manifest.json: the values of files.b differ"


def test_names_what_is_missing(tmp_path: Path) -> None:
    told = differences(tmp_path, {"fliptop__b.so": b""}, {"fliptop__c.so": b""})
    assert told.splitlines() == ["fliptop/b.so is only in the first", "fliptop/c.so is only in the second"]


def test_names_what_is_different_about_the_zip_itself(tmp_path: Path) -> None:
    def archive(name: str, order: int, time: int = 1980, level: int = 9, mode: int = 0o644) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w") as target:
            for file in ("a", "b")[::order]:
                info = zipfile.ZipInfo(file, (time, 1, 1, 0, 0, 0))
                info.external_attr = mode << 16
                target.writestr(info, b"content " * 1000, zipfile.ZIP_DEFLATED, level)
        return tmp_path / name

    base = archive("base", 1)
    assert found.differences(base, archive("order", -1)) == ["the files are in another order"]
    assert "its time in the zip is (1980," in found.differences(base, archive("time", 1, time=2026))[0]
    assert "its mode in the zip is 0o644 and 0o755" in found.differences(base, archive("mode", 1, mode=0o755))[0]
    assert "different versions of libdeflate" in found.differences(base, archive("level", 1, level=1))[0]


def test_the_two_builds_have_nothing_in_common_but_the_sources(tmp_path: Path) -> None:
    one, other = verify._builds(tmp_path / "1", tmp_path / "2")
    assert one.root != other.root
    assert (one.umask, one.time, one.is_reversed) != (other.umask, other.time, other.is_reversed)
    assert one.environment.keys() & {"TZ", "PYTHONHASHSEED"} == other.environment.keys() & {"TZ", "PYTHONHASHSEED"}
    assert not set(one.environment.items()) & set(other.environment.items())
    for build in (one, other):
        verify.prepare(build)
    files = [
        {path.relative_to(build.root): path for path in build.root.rglob("*") if path.is_file()}
        for build in (one, other)
    ]
    assert files[0].keys() == files[1].keys()
    assert {Path("build/layer.py"), Path("launcher/launcher.c"), Path("src/fliptop/boot.py")} <= files[0].keys()
    for name, path in files[0].items():
        twin = files[1][name]
        assert path.read_bytes() == twin.read_bytes()
        assert path.stat().st_mtime != twin.stat().st_mtime
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(twin.stat().st_mode)


def test_a_build_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = verify.Build("first", tmp_path / "a", 0o022, 0)
    build.root.mkdir()
    program = "import sys; print('no compiler here'); sys.exit(3)"
    with pytest.raises(verify.BuildError, match=r"no compiler here\nThe first build failed"):
        verify._run(build, [sys.executable, "-c", program], samples.load("progress").Progress("test"))
    monkeypatch.setattr(verify, "_twice", lambda *_: (_ for _ in ()).throw(verify.BuildError("no")))
    assert verify.main([]) == 2


def test_every_architecture_is_built_that_can_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(verify.debian, "APT_HELPER", tmp_path)
    assert verify.architectures() == [samples.ARCH], "without apt: this machine's alone"
    (tmp_path / "apt-helper").touch()
    monkeypatch.setattr(verify.debian, "APT_HELPER", tmp_path / "apt-helper")
    monkeypatch.setattr(verify.platform, "machine", lambda: "x86_64")
    assert verify.architectures() == ["x86_64", "aarch64"]
    monkeypatch.setattr(verify.platform, "machine", lambda: "aarch64")
    assert verify.architectures() == ["aarch64"]
    ran: list[list[str]] = []
    monkeypatch.setattr(verify, "_run", lambda _, command, __: ran.append(command[1:]))
    build = verify.Build("first", tmp_path, 0o022, 0)
    made = verify._build(build, ["x86_64", "aarch64"], samples.load("progress").Progress("test"))
    assert [path.name for path in made] == ["fliptop-x86_64.zip", "fliptop-aarch64.zip"]
    assert [command[-1] for command in ran] == ["build/environment.py", "x86_64", "aarch64"]


def test_one_difference_in_one_architecture_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The whole of it, with builds that take no time: what they write names the directory that they ran in."""
    kept = tmp_path / "kept"

    def build(build: Any, arches: list[str], _: object) -> list[Path]:
        paths = [build.root / "dist" / f"fliptop-{arch}.zip" for arch in arches]
        for path, leaks in zip(paths, (b"", str(build.root).encode()), strict=True):
            write(path, fliptop__a=b"library " + leaks)
        return paths

    monkeypatch.setattr(verify, "_build", build)
    monkeypatch.setattr(verify, "prepare", lambda _: None)
    assert verify.main(["--arch", "x86_64", "--arch", "aarch64", "--keep", str(kept)]) == 1
    zips = {name: [kept / number / f"fliptop-{name}.zip" for number in "12"] for name in ("x86_64", "aarch64")}
    assert found.differences(*zips["x86_64"]) == []
    (told,) = found.differences(*zips["aarch64"])
    assert told.startswith("fliptop/a: differs from offset 0x")
    assert "only in one of them: /" in told
    assert "a-much-longer-name-than-the-other/checkout" in told


def test_a_build_runs_with_what_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "5")
    build = verify.Build("first", tmp_path / "a", 0o077, 0, environment={"TZ": "Asia/Tokyo"})
    build.root.mkdir()
    program = "import os; open('x', 'w').write(repr((os.environ.get('SOURCE_DATE_EPOCH'), os.environ['TZ'])))"
    verify._run(build, [sys.executable, "-c", program], samples.load("progress").Progress("test"))
    assert (build.root / "x").read_text() == "(None, 'Asia/Tokyo')"
    assert stat.S_IMODE((build.root / "x").stat().st_mode) == 0o600


def test_unpacked_as_lambda_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zipped = write(tmp_path / "layer.zip")
    before = os.umask(0o077)
    try:
        assert unpacking.main([str(zipped), str(tmp_path / "opt")]) == 0
    finally:
        os.umask(before)
    modes = {
        path.relative_to(tmp_path / "opt").as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "opt").rglob("*")
    }
    assert modes == {
        "extensions": 0o755,
        LAUNCHER: 0o755,
        "fliptop": 0o755,
        "fliptop/a.so": 0o644,
        "fliptop/manifest.json": 0o644,
    }
    assert {path.stat().st_mtime for path in (tmp_path / "opt").rglob("*")} == {315532800}
    assert unpacking.main([str(zipped), str(tmp_path / "opt")]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert unpacking.main([str(tmp_path / "none.zip"), str(tmp_path / "other")]) == 1
