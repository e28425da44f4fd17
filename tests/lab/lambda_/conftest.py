"""Nothing of an environment may outlive its test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fliptop_lab.lambda_ import keeper
from fliptop_lab.lambda_.sandbox import refusal

from .harness import FOLDERS


def mounts() -> list[str]:
    """All mounts, less overlays: those come and go with the containers of others, and the lab makes none."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - overlay " not in line]


@pytest.fixture(autouse=True, scope="module")
def no_leaks() -> Iterator[None]:
    """Processes, mounts, cgroups, namespaces (which live by their processes), directories and descriptors."""
    refusal()
    children, before = set(keeper.descendants(os.getpid())), mounts()
    yield
    assert set(keeper.descendants(os.getpid())) <= children
    assert mounts() == before
    for name in FOLDERS:
        assert not list(Path("/sys/fs/cgroup").glob(f"*/**/{name}"))
        assert not list(Path("/sys/fs/cgroup").glob(name))
        assert not Path("/tmp", name).exists()
    FOLDERS.clear()


needs_namespaces = pytest.mark.skipif(refusal() is not None, reason=f"no namespaces here: {refusal()}")
