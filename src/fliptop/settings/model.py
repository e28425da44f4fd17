"""The authority on settings: a pydantic-settings model, derived from the declaration in `settings.fields`.

Loaded only when some value is in doubt. It judges field by field, falls back to weaker sources, and puts what it
refuses into words.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, get_type_hints

from pydantic import BeforeValidator, ValidationError, create_model
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from fliptop.settings.fields import FIELDS, Settings
from fliptop.settings.load import strongest
from fliptop.settings.sources import Candidate


class _Base(BaseSettings):
    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True, validate_default=False)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_others: PydanticBaseSettingsSource,
        **_named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `judge` hands over: the sources are read elsewhere, to be able to fall back field by field."""
        return (init_settings,)


@cache
def settings_model() -> type[BaseSettings]:
    """The model class: for each declared field its type, read by the function declared for it."""
    types = get_type_hints(Settings)
    fields: dict[str, Any] = {
        name: (Annotated[types[name], BeforeValidator(field.read)], field.default) for name, field in FIELDS.items()
    }
    return create_model("SettingsModel", __base__=_Base, **fields)


def judge(candidates: list[Candidate]) -> tuple[Settings, list[str]]:
    """The settings from the strongest candidate of each field that validates, and a sentence for each that does not."""
    complaints: list[str] = []
    model = settings_model()
    while True:
        chosen = strongest(candidates)
        try:
            judged = model(**{field: candidate.value for field, candidate in chosen.items()})
        except ValidationError as problem:
            bad = {str(error["loc"][0]): error["msg"] for error in problem.errors(include_input=False)}
            refused = [candidate for field, candidate in chosen.items() if field in bad]
            if not refused:
                raise  # the defaults themselves do not validate: a mistake in the declaration
            candidates = [candidate for candidate in candidates if candidate not in refused]
            complaints += [_complaint(candidate, bad[candidate.field], candidates) for candidate in refused]
        else:
            return Settings({field: getattr(judged, field) for field in chosen}), complaints


def _complaint(refused: Candidate, why: str, remaining: list[Candidate]) -> str:
    instead = next((other.name for other in remaining if other.field == refused.field), None)
    value = "(hidden)" if FIELDS[refused.field].masked else f"{refused.value!r:.100}"
    reason = why.removeprefix("Value error, ")
    return f"{refused.name}={value} is ignored: {reason}; {instead or 'the default'} is used instead"
