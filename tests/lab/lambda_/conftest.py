"""Nothing of an environment may outlive its test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fliptop_lab.lambda_ import keeper
from fliptop_lab.lambda_.sandbox import refusal

from .harness import FOLDERS


@pytest.fixture(autouse=True, scope="module")
def no_leaks() -> Iterator[None]:
    """Processes, mounts, cgroups, namespaces (which live by their processes), directories and descriptors."""
    refusal()
    children, mounts = set(keeper.descendants(os.getpid())), Path("/proc/self/mountinfo").read_text()
    yield
    assert set(keeper.descendants(os.getpid())) <= children
    assert Path("/proc/self/mountinfo").read_text() == mounts
    for name in FOLDERS:
        assert not list(Path("/sys/fs/cgroup").glob(f"*/**/{name}"))
        assert not list(Path("/sys/fs/cgroup").glob(name))
        assert not Path("/tmp", name).exists()
    FOLDERS.clear()


needs_namespaces = pytest.mark.skipif(refusal() is not None, reason=f"no namespaces here: {refusal()}")
