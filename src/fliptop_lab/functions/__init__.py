"""Example functions, and a way to run any other one: what to start, where, and with which handler."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from fliptop_lab.functions.compiling import FunctionError, compile_c

__all__ = ["EXAMPLES", "FunctionError", "Prepared", "find"]

HERE = Path(__file__).parent
NODE_RUNTIME = HERE / "node/bootstrap.mjs"


@dataclass(frozen=True)
class Prepared:
    """A function ready to run: its runtime's ``command``, started in ``task_root``, and ``_HANDLER``.

    ``visible`` are paths outside of ``task_root`` that the command needs to see.
    """

    name: str
    command: list[str]
    task_root: Path
    handler: str
    visible: tuple[Path, ...] = ()


def find(name: str, command: str | None = None, handler: str | None = None) -> Prepared:
    """Prepare ``python``, ``node``, ``c`` or the function in a directory.

    For a directory the runtime follows from what is in it, as in Lambda: an executable ``bootstrap``, a Python or a
    Node module that the handler names. ``command`` (shell words) and ``handler`` (``module.function``) override
    what would be used. Raises ``FunctionError``.
    """
    prepared = EXAMPLES[name]() if name in EXAMPLES else _directory(Path(name), command, handler)
    words = shlex.split(command) if command else _with_handler(prepared, handler)
    return replace(prepared, command=words, handler=handler or prepared.handler)


def _with_handler(prepared: Prepared, handler: str | None) -> list[str]:
    return [handler if handler and word == prepared.handler else word for word in prepared.command]


def _python(root: Path, handler: str = "handler.handler") -> Prepared:
    return Prepared("python", [sys.executable, "-m", "awslambdaric", handler], root, handler)


def _node(root: Path, handler: str = "index.handler") -> Prepared:
    node = shutil.which("node")
    if not node:
        raise FunctionError("Node is not on the PATH. Install Node 18 or newer, or take the function python or c.")
    return Prepared("node", [node, str(NODE_RUNTIME), handler], root, handler, (NODE_RUNTIME.parent,))


def _c() -> Prepared:
    program = compile_c(HERE / "c/bootstrap.c")
    return Prepared("c", ["./bootstrap"], program.parent, "bootstrap")


EXAMPLES: dict[str, Callable[[], Prepared]] = {
    "python": lambda: _python(HERE / "python"),
    "node": lambda: _node(HERE / "node"),
    "c": _c,
}
"""The lab's own functions by name."""


def _directory(root: Path, command: str | None, handler: str | None) -> Prepared:
    if not root.is_dir():
        raise FunctionError(f"{root} is neither one of {', '.join(EXAMPLES)} nor a directory with a function in it.")
    root = root.resolve()
    if command:
        return Prepared(root.name, [], root, handler or "handler.handler")
    if os.access(root / "bootstrap", os.X_OK):
        return Prepared(root.name, ["./bootstrap"], root, handler or "bootstrap")
    found = _by_module(root, [handler] if handler else list(_USUAL_HANDLERS))
    return replace(found, name=root.name)


_USUAL_HANDLERS = ("handler.handler", "lambda_function.lambda_handler", "index.handler", "app.handler", "main.handler")


def _by_module(root: Path, handlers: list[str]) -> Prepared:
    for handler in handlers:
        module = root / handler.rpartition(".")[0]
        if module.with_suffix(".py").is_file():
            return _python(root, handler)
        if any(module.with_suffix(suffix).is_file() for suffix in (".mjs", ".js", ".cjs")):
            return _node(root, handler)
    raise FunctionError(
        f"{root} has no executable bootstrap and no module for {' or '.join(handlers)}. "
        "Name the handler with --handler module.function, or the runtime's command with --command."
    )
