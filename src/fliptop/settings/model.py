"""The settings, one model. A bad value costs its field alone; unknown keys are ignored.

Names are those of Datadog's documents without the `DD_` prefix, in lower case. `YAML_PATHS` says where each one stands
in `datadog.yaml`. Environment beats YAML, field by field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from fliptop.settings import values
from fliptop.settings.sources import BadYaml, Candidate, from_environment, from_yaml, read_yaml, yaml_path

Boolean = Annotated[bool, BeforeValidator(values.boolean)]
Text = Annotated[str, BeforeValidator(values.text)]
OptionalBaseUrl = Annotated[str | None, BeforeValidator(values.base_url)]
LogLevel = Annotated[
    Literal["error", "warn", "info", "debug", "trace"], BeforeValidator(lambda v: values.text(v).lower())
]

_DEFAULT_COMPRESSION: Final = 3
# Beyond this zstd takes seconds for what the invocation has milliseconds for, and saves next to nothing.
HIGHEST_COMPRESSION: Final = 9


# Keys, and URLs in which people write passwords.
MASKED: Final = frozenset({"api_key", "kms_api_key", "proxy_https", "logs_config_logs_dd_url"})


class Settings(BaseSettings):
    """What the user configured, as far as this version reads it."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True, validate_default=False)

    YAML_PATHS: ClassVar[dict[str, str]] = {
        "proxy_https": "proxy.https",
        "logs_config_logs_dd_url": "logs_config.logs_dd_url",
        "logs_config_processing_rules": "logs_config.processing_rules",
        "logs_config_use_compression": "logs_config.use_compression",
        "logs_config_compression_level": "logs_config.compression_level",
    }

    site: Annotated[str, BeforeValidator(values.site)] = "datadoghq.com"
    api_key: Annotated[SecretStr | None, BeforeValidator(values.api_key)] = None
    api_key_secret_arn: Text = ""
    api_key_ssm_arn: Text = ""
    kms_api_key: Text = ""
    log_level: LogLevel = "info"
    flush_timeout: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    env: Text = ""
    service: Text = ""
    version: Text = ""
    tags: Annotated[dict[str, str], BeforeValidator(values.tags)] = {}
    logs_enabled: Boolean | None = None
    serverless_logs_enabled: Boolean | None = None
    logs_config_logs_dd_url: OptionalBaseUrl = None
    logs_config_processing_rules: Annotated[list[Any], BeforeValidator(values.json_list)] = []
    logs_config_use_compression: Boolean = True
    logs_config_compression_level: int | None = Field(default=None, ge=1, le=HIGHEST_COMPRESSION)
    compression_level: int | None = Field(default=None, ge=1, le=HIGHEST_COMPRESSION)
    proxy_https: OptionalBaseUrl = None
    tls_cert_file: Text = ""
    skip_ssl_validation: Boolean = False

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_others: PydanticBaseSettingsSource,
        **_named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` hands over: it reads the sources itself, to be able to fall back field by field."""
        return (init_settings,)

    @property
    def logs_wanted(self) -> bool:
        """Logs are shipped unless a switch is set and none of those that are set says yes."""
        switches = [switch for switch in (self.logs_enabled, self.serverless_logs_enabled) if switch is not None]
        return any(switches) if switches else True

    @property
    def logs_url(self) -> str:
        """Where logs go, complete."""
        return (self.logs_config_logs_dd_url or f"https://http-intake.logs.{self.site}") + "/api/v2/logs"

    @property
    def logs_compression(self) -> int | None:
        """The zstd level for logs, None for no compression. The level for logs beats the global one."""
        if not self.logs_config_use_compression:
            return None
        return self.logs_config_compression_level or self.compression_level or _DEFAULT_COMPRESSION

    @property
    def all_tags(self) -> dict[str, str]:
        """Unified service tags and the user's own, which win."""
        unified = {"env": self.env, "service": self.service.lower(), "version": self.version}
        return {**{key: value for key, value in unified.items() if value}, **self.tags}


def load(environ: Mapping[str, str]) -> tuple[Settings, list[str]]:
    """The settings of this environment, and a sentence for every value that could not be used."""
    fields = Settings.model_fields
    complaints: list[str] = []
    candidates = from_environment(environ, fields)
    try:
        document = read_yaml(yaml_path(environ))
    except BadYaml as problem:
        complaints.append(f"{problem}; the file is ignored")
    else:
        candidates += from_yaml(document, {field: Settings.YAML_PATHS.get(field, field) for field in fields})
    return _settle(candidates, complaints), complaints


def _settle(candidates: list[Candidate], complaints: list[str]) -> Settings:
    """Take the strongest candidate of each field that validates; add a complaint for each that does not."""
    while True:
        chosen: dict[str, Candidate] = {}
        for candidate in candidates:
            chosen.setdefault(candidate.field, candidate)
        try:
            return Settings(**{field: candidate.value for field, candidate in chosen.items()})
        except ValidationError as problem:
            bad = {str(error["loc"][0]): error["msg"] for error in problem.errors(include_input=False)}
            refused = [candidate for field, candidate in chosen.items() if field in bad]
            if not refused:
                raise  # the defaults themselves do not validate: a mistake in this file
            candidates = [candidate for candidate in candidates if candidate not in refused]
            complaints += [_complaint(candidate, bad[candidate.field], candidates) for candidate in refused]


def _complaint(refused: Candidate, why: str, remaining: list[Candidate]) -> str:
    instead = next((other.name for other in remaining if other.field == refused.field), None)
    value = "(hidden)" if refused.field in MASKED else f"{refused.value!r:.100}"
    reason = why.removeprefix("Value error, ")
    return f"{refused.name}={value} is ignored: {reason}; {instead or 'the default'} is used instead"


def effective(settings: Settings) -> dict[str, Any]:
    """The settings as they are in force, secrets masked, for `DD_LOG_LEVEL=debug`."""
    shown = {name: getattr(settings, name) for name in Settings.model_fields}
    return {name: "(set)" if name in MASKED and value else value for name, value in shown.items()}
