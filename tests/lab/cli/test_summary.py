"""What counts as lost, and how layers are put together."""

import json
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from fliptop_lab.lambda_ import Record
from fliptop_lab.run import Outcome
from fliptop_lab.staging import Ingredients, LayerError, find_layer, staged, task_root_with
from fliptop_lab.summary import combine, compare, dropped


def test_lost_lines_are_counted_by_text() -> None:
    lost, surplus = compare(["a\n", "a\n", "b\n", "c\n"], ["a", "b\n", "b", "platform line"])
    assert (dict(lost), dict(surplus)) == ({"a": 1, "c": 1}, {"b": 1})


def test_a_json_line_is_the_same_however_it_is_spelled() -> None:
    written = ['{"level": "info", "ddtags": "a:b", "message": "m"}\n', "{not json\n"]
    lost, _ = compare(written, ['{"message":"m","level":"info"}', "{not json"])
    assert not lost
    assert sum(compare(written, ['{"message":"other","level":"info"}'])[0].values()) == 2


def ledger(**signals: dict[str, int]) -> Record:
    """The line of a process that ends, with what it has dropped."""
    entries = {
        signal: {"accepted": 9, "delivered": 0, "pending": 0, "dropped": reasons} for signal, reasons in signals.items()
    }
    line = json.dumps({"level": "info", "message": "DD_EXTENSION | INFO | LEDGER | " + json.dumps(entries)})
    return Record("telemetry", "extension", 1.0, 1, {"line": line})


def test_what_the_ledgers_say_was_dropped_is_told() -> None:
    lives = [ledger(spans={"shutdown": 2}, logs={}), ledger(spans={"shutdown": 1, "no_id": 4})]
    others = [Record("telemetry", kind, 1.0, 1, {"line": "a LEDGER | of mine"}) for kind in ("extension", "function")]
    assert dropped(cast(Outcome, SimpleNamespace(records=[*lives, *others]))) == {"spans": {"shutdown": 3, "no_id": 4}}


def test_several_runs_are_summed() -> None:
    sums = {"invocations": 2, "failures": 0, "lost": 1, "surplus": 0, "refused": 0, "duplicates": 0}
    times = {"init_ms": 1.0, "invoke_ms": [1.0, 2.0]}
    first = {"decision": "next", "reasons": [], "received": {"logs": 3}, **sums, **times}
    second = {"decision": "legacy", "reasons": ["fips"], "received": {"logs": 1, "series": 1}, **sums, **times}
    both = combine([first, second])
    assert (both["decision"], both["reasons"]) == (["next", "legacy"], ["fips"])
    assert (both["invocations"], both["lost"], both["received"]) == (4, 2, {"logs": 4, "series": 1})
    assert both["runs"] == [first, second]


def test_the_stand_in_goes_below_the_layers_and_a_given_legacy_above(tmp_path: Path) -> None:
    layer, legacy = tmp_path / "layer", tmp_path / "legacy"
    layer.mkdir()
    legacy.write_text("mine")
    with staged(Ingredients([layer])) as layers:
        assert layers[1:] == [layer]
        assert "stand-in" in (layers[0] / "datadog-agent-go").read_text()
    with staged(Ingredients([layer], legacy_binary=legacy)) as layers:
        assert layers[:1] == [layer]
        assert (layers[1] / "datadog-agent-go").read_text() == "mine"
    with staged(Ingredients([layer], no_legacy=True)) as layers:
        assert layers == [layer]


def test_a_single_extension_becomes_a_layer(tmp_path: Path) -> None:
    program = tmp_path / "my-extension"
    program.write_text("#!/bin/sh\n")
    with staged(Ingredients(extensions=[program], no_legacy=True)) as (layer,):
        assert (layer / "extensions/my-extension").stat().st_mode & 0o111
    with pytest.raises(LayerError, match="--layer"), staged(Ingredients(extensions=[tmp_path])):
        pass


def test_yaml_goes_into_a_private_copy(tmp_path: Path) -> None:
    source, yaml = tmp_path / "source", tmp_path / "any.yaml"
    source.mkdir()
    (source / "handler.py").touch()
    yaml.write_text("site: x")
    with task_root_with(source, None) as task_root:
        assert task_root == source
    with task_root_with(source, yaml) as task_root:
        assert (task_root / "datadog.yaml").read_text() == "site: x"
        assert (task_root / "handler.py").exists()
    assert not (source / "datadog.yaml").exists()


def test_the_frozen_layer_is_preferred_and_a_missing_one_names_the_fix(tmp_path: Path) -> None:
    with pytest.raises(LayerError, match="make layer"):
        find_layer(tmp_path)
    (tmp_path / "source-layer").mkdir()
    assert find_layer(tmp_path).name == "source-layer"
    from fliptop_lab.staging import architecture

    with zipfile.ZipFile(tmp_path / f"fliptop-{architecture()}.zip", "w"):
        pass
    assert find_layer(tmp_path).suffix == ".zip"
