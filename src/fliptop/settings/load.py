"""Read the settings. A bad value costs its field alone; unknown keys are ignored; environment beats YAML, by field.

Nearly every configuration is in order, and building a pydantic model takes more CPU than all the rest of a start. So
the fields' own functions read first; only when one of them refuses a value is the model loaded, which judges them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fliptop.settings.fields import FIELDS, Settings
from fliptop.settings.sources import BadYaml, Candidate, from_environment, from_yaml, read_yaml, yaml_path


def load(environ: Mapping[str, str]) -> tuple[Settings, list[str]]:
    """The settings of this environment, and a sentence for every value that could not be used."""
    candidates, complaints = gather(environ)
    settings = quick(candidates)
    if settings is None:
        from fliptop.settings.model import judge  # noqa: PLC0415 -- see above

        settings, refused = judge(candidates)
        complaints += refused
    return settings, complaints


def gather(environ: Mapping[str, str]) -> tuple[list[Candidate], list[str]]:
    """All that the sources offer, strongest first, and a sentence for a file that cannot be used."""
    candidates = from_environment(environ, FIELDS)
    try:
        document = read_yaml(yaml_path(environ))
    except BadYaml as problem:
        return candidates, [f"{problem}; the file is ignored"]
    return candidates + from_yaml(document, {name: field.path for name, field in FIELDS.items()}), []


def quick(candidates: Iterable[Candidate]) -> Settings | None:
    """The settings, if the strongest candidate of every field can be read; None if there is any doubt."""
    chosen = strongest(candidates)
    try:
        return Settings({name: FIELDS[name].read(candidate.value) for name, candidate in chosen.items()})
    except Exception:  # noqa: BLE001 -- whatever it is: the model will find it again and say it in words
        return None


def strongest(candidates: Iterable[Candidate]) -> dict[str, Candidate]:
    """Each field's first candidate."""
    chosen: dict[str, Candidate] = {}
    for candidate in candidates:
        chosen.setdefault(candidate.field, candidate)
    return chosen
