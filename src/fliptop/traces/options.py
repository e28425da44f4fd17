"""From the settings to what the trace pipeline is told."""

from collections.abc import Mapping
from typing import NamedTuple

from fliptop.settings.fields import Settings
from fliptop.traces.filters import TagRules, own_addresses
from fliptop.traces.obfuscate import Replacement, UrlRules, replacements


class TraceOptions(NamedTuple):
    """What the user chose. `url` is the base, without a path; `compression_level` is zstd's; `own_addresses` are where
    the extension and the Runtime API listen; `complaints` has a sentence for each rule that cannot be used.
    """

    url: str
    compression_level: int = 3
    service: str = ""
    tags: TagRules = TagRules()
    urls: UrlRules = UrlRules()
    replacements: tuple[Replacement, ...] = ()
    own_addresses: frozenset[str] = frozenset()
    complaints: tuple[str, ...] = ()


def trace_options(settings: Settings, environ: Mapping[str, str]) -> TraceOptions:
    """How traces are made, and where they go."""
    rules, complaints = replacements(settings.apm_replace_tags)
    return TraceOptions(
        settings.apm_url,
        settings.apm_compression,
        settings.service.lower(),
        TagRules(
            settings.apm_filter_tags_require,
            settings.apm_filter_tags_reject,
            settings.apm_filter_tags_regex_require,
            settings.apm_filter_tags_regex_reject,
        ),
        UrlRules(
            settings.apm_config_obfuscation_http_remove_query_string,
            settings.apm_config_obfuscation_http_remove_paths_with_digits,
        ),
        tuple(rules),
        own_addresses(environ),
        tuple(complaints),
    )
