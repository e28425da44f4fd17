"""Freezes the package that FLIPTOP_PROBE names as build/freeze.py freezes the extension. Run by test_baked_in.py."""

from __future__ import annotations

import marshal
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from build import freeze


def prepare(excluded: list[str]) -> None:
    """Prepare a directory to work in, as freeze.py does for an extension of which nothing was compiled in advance."""
    freeze.PREPARED.mkdir(parents=True, exist_ok=True)
    (freeze.PREPARED / "excluded").write_text("\n".join(excluded))
    nothing = marshal.dumps({})
    (freeze.PREPARED / "precompiled").write_bytes(marshal.dumps({"dataclasses": nothing, "re._compiler": nothing}))


freeze.PACKAGE = Path(os.environ["FLIPTOP_PROBE"])
freeze.WORK, freeze.RESULT = freeze.PACKAGE.parent / "work", freeze.PACKAGE.parent / "result"
freeze.PREPARED = freeze.WORK / "prepared"
freeze._prepare = prepare
sys.exit(freeze.main([]))
