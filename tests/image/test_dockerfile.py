"""Dockerfile.al2023: what can be held without an engine, and every stage of it on a stand-in for the base image."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.unit.build import samples

standin = samples.load("standin")
tools = samples.load("tools")

ROOT = samples.ROOT
DOCKERFILE = (ROOT / "Dockerfile.al2023").read_text()
STAGES = ("legacy-image", "toolchain", "launcher", "frozen", "without-legacy", "with-legacy", "made", "opt", "layer")


def instructions() -> list[tuple[str, str]]:
    """Every instruction and its arguments, in order; comments left out, continued lines joined."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def first_checks() -> str:
    """The RUN that refuses values which are not pinned."""
    return next(rest for word, rest in instructions() if word == "RUN")


def test_stages_are_the_documented_ones() -> None:
    names = [rest.split()[-1] for word, rest in instructions() if word == "FROM"]
    assert names == list(STAGES)
    assert [rest for word, rest in instructions() if word == "FROM" if "latest" in rest] == []


def test_what_is_copied_is_there_and_not_ignored() -> None:
    permitted = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    for word, rest in instructions():
        if word == "COPY" and "--from" not in rest:
            *sources, _ = rest.split()
            for source in sources:
                assert (ROOT / source).exists(), source
                assert any(source.startswith(each) for each in permitted), f"{source} is left out by .dockerignore"


def test_the_context_has_all_inputs_of_the_proof() -> None:
    inputs = samples.load("verify_reproducible").INPUTS
    permitted = [line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"]
    assert sorted(permitted) == sorted(inputs)


def test_everything_is_done_by_programs_of_the_build() -> None:
    for word, rest in instructions():
        for program in re.findall(r"\S+\.py", rest if word == "RUN" else ""):
            assert (ROOT / program).is_file()
    commands = [rest for word, rest in instructions() if word == "RUN"]
    assert len(commands) == 7
    assert sum("build/" in command for command in commands) == 4, "the others refuse values, and install Python"


def test_python_of_the_image_is_supported() -> None:
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    (version,) = set(re.findall(r"python(3\.\d+)", DOCKERFILE))
    assert tuple(map(int, version.split("."))) >= tuple(map(int, requires.removeprefix(">=").split(".")))


@pytest.mark.parametrize(
    ("base", "release", "said"),
    [
        ("amazonlinux:2023@sha256:abc", "2023.9.20251110", ""),
        ("amazonlinux:2023", "2023.9.20251110", "BASE=amazonlinux:2023 is not pinned"),
        ("amazonlinux:2023@sha256:", "2023.9.20251110", "is not pinned"),
        ("", "2023.9.20251110", "BASE= is not pinned"),
        ("amazonlinux:2023@sha256:abc", "latest", "RELEASEVER=latest is no dated release"),
        ("amazonlinux:2023@sha256:abc", "", "RELEASEVER= is no dated release"),
    ],
)
def test_values_that_are_not_pinned_are_refused(base: str, release: str, said: str) -> None:
    environ = {"PATH": os.environ["PATH"], "BASE": base, "RELEASEVER": release}
    done = subprocess.run(["sh", "-c", first_checks()], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == bool(said)
    assert said in done.stderr


@pytest.mark.parametrize("image", ["datadog/lambda-extension:87", "scratch", "", "image:87@sha256:"])
def test_a_legacy_image_that_is_not_pinned_is_refused(image: str) -> None:
    (check,) = [rest for word, rest in instructions() if word == "RUN" and '"${LEGACY_IMAGE}" in' in rest]
    refused = subprocess.run(
        ["sh", "-c", check], env={"LEGACY_IMAGE": image}, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert f"LEGACY_IMAGE={image} is not pinned" in refused.stderr
    subprocess.run(["sh", "-c", check], env={"LEGACY_IMAGE": "image:87@sha256:abc"}, check=True)


def test_the_stand_in_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    dnf = tmp_path / "dnf"
    dnf.write_text(standin.DNF)
    (install,) = [rest for word, rest in instructions() if word == "RUN" and rest.startswith("dnf")]
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RELEASEVER": standin.RELEASEVER}
    dnf.chmod(0o755)
    for command, code in ((install, 0), (install.replace("python3.11-pip", "clang"), 2), ("dnf upgrade", 2)):
        assert subprocess.run(["sh", "-c", command], env=environ, capture_output=True, check=False).returncode == code


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run(
        [tools.python_tools() / "hadolint", "--no-color", "Dockerfile.al2023"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("legacy") / "datadog-agent-go"
    program.write_text("#!/bin/sh\nexit 0\n")
    return program


def build(target: str, output: Path, legacy: Path) -> Path:
    command = [sys.executable, str(ROOT / "build" / "standin.py"), "--target", target]
    command += ["--output", str(output), "--legacy", str(legacy)]
    assert subprocess.run(command, check=False).returncode == 0
    return output


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(
    os.geteuid() != 0 or not (shutil.which("buildah") and shutil.which("mmdebstrap")),
    reason="needs root, buildah and mmdebstrap",
)
def test_every_stage_on_the_stand_in(tmp_path: Path, legacy: Path) -> None:
    """From toolchain to zip: environment, both launchers, the frozen extension, the layer with legacy, checked."""
    layer = build("layer", tmp_path / "layer", legacy)
    (zipped,) = layer.iterdir()
    assert zipped.name == f"fliptop-{samples.ARCH}.zip"
    opt = build("opt", tmp_path / "image", legacy) / "opt"
    with zipfile.ZipFile(zipped) as archive:
        manifest = json.loads(archive.read("fliptop/manifest.json"))
        assert "datadog-agent-go" in manifest["files"]
        assert manifest["legacy_image"].startswith("localhost/legacy:87@sha256:")
        bill = json.loads(archive.read("fliptop/sbom.cdx.json"))
        assert ("datadog-lambda-extension", "87") in {
            (part["name"], part.get("version")) for part in bill["components"]
        }
        files = {path.relative_to(opt).as_posix() for path in opt.rglob("*") if path.is_file()}
        assert files == set(archive.namelist())
        for info in archive.infolist():
            assert (opt / info.filename).read_bytes() == archive.read(info)
            assert stat.S_IMODE((opt / info.filename).stat().st_mode) == info.external_attr >> 16 & 0o777
    told = subprocess.run([opt / "extensions" / "datadog-agent", "--version"], capture_output=True, check=True)
    assert told.stdout.decode().splitlines()[0] == manifest["version"]
    checked = subprocess.run([sys.executable, ROOT / "build" / "check_layer.py", zipped], check=False)
    assert checked.returncode == 0
