"""Texts of datadog.yaml for the scanner: dumped, damaged, made of fragments, and as people write them."""

from __future__ import annotations

import yaml
from hypothesis import strategies as st

from fliptop.settings.rules import RULES

WATCHED = sorted({field.yaml for rule in RULES for field in rule.fields if field.yaml})
OTLP_KEYS = ["receiver", "protocols", "http", "grpc", "endpoint", "traces", "enabled", "metrics", "logs", "delta_ttl"]
OTHER_KEYS = [
    "site",
    "api_key",
    "tags",
    "logs_config",
    "processing_rules",
    "type",
    "name",
    "apm_config",
    "env",
    "1",
    "~",
]
TEXTS = [
    *(
        "true",
        "false",
        "True",
        "FALSE",
        "yes",
        "no",
        "On",
        "off",
        "t",
        "F",
        "y",
        "n",
        "1",
        "0",
        "1.0",
        "0.0",
        "2",
        "-0",
        "0x0",
    ),
    *(
        "0.00",
        "0b0",
        "0_0",
        "0:00",
        ".0",
        "1e5",
        "1.0e-999",
        "1.00",
        "01",
        "+1",
        "null",
        "Null",
        "nULL",
        "~",
        "",
        " ",
        "tRuE",
    ),
    *(
        "compatibility",
        "Compatibility",
        " compatibility ",
        "next",
        "0.0.0.0:4318",
        "localhost:4317",
        "4318",
        "datadoghq.eu",
    ),
    *(
        "2024-11-22",
        "2024-13-45",
        "1.10",
        "=",
        "<<",
        "a # b",
        "a: b",
        "a:b",
        "#x",
        "- a",
        "-a",
        "it's",
        'say "yes"',
        "é",
    ),
    *(
        "[a]",
        "{a: b}",
        "*a",
        "&a",
        "!x",
        "|",
        ">",
        "%a",
        "@a",
        "`a",
        "?",
        "? a",
        "a,b",
        "x]",
        "tab\there",
        "line\nbreak",
        "\\d+",
    ),
]
ENVIRONMENTS: list[dict[str, str]] = [
    {},
    {"DD_OTLP_CONFIG_TRACES_ENABLED": "false"},
    {"dd_otlp_config_receiver_protocols_http_endpoint": "0", "DATADOG_OTLP_CONFIG_TRACES": "x"},
    {"DD_SERVERLESS_APPSEC_ENABLED": "false", "DD_EXTENSION_VERSION": "next"},
    {"DD_APPSEC_ENABLED": "", "DD_TRACE_OTEL_ENABLED": "maybe"},
    {"DATADOG_TRACE_OTEL_ENABLED": "1", "DD_LAMBDA_FIPS_MODE": '"true"'},
]


scalars = st.one_of(
    st.sampled_from(TEXTS),
    st.booleans(),
    st.none(),
    st.integers(-2, 5000),
    st.floats(allow_nan=True),
    st.text(max_size=12),
)
keys = st.one_of(st.sampled_from(OTLP_KEYS), st.sampled_from(OTHER_KEYS), st.sampled_from(WATCHED), st.text(max_size=5))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=6,
)
mostly_off: st.SearchStrategy[object] = st.sampled_from(
    [False, None, "", "false", "off", 0, 0.0, {}, [], True, "localhost:4317"]
)
otlp = st.recursive(
    mostly_off,
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from(OTLP_KEYS), inner, max_size=3), st.lists(inner, max_size=2)
    ),
    max_leaves=5,
)
watched = st.fixed_dictionaries(
    {}, optional={key: st.one_of(scalars, values) for key in WATCHED} | {"otlp_config": otlp}
)
documents = st.one_of(
    st.tuples(watched, st.dictionaries(keys, values, max_size=2)).map(lambda parts: {**parts[1], **parts[0]}),
    watched,
    values,
)
environments = st.sampled_from(ENVIRONMENTS)


@st.composite
def dumped(draw: st.DrawFn) -> bytes:
    """A document as PyYAML writes it, in one of its styles."""
    text = yaml.safe_dump(
        draw(documents),
        default_flow_style=draw(st.sampled_from([True, False, None])),
        default_style=draw(st.sampled_from([*([None] * 8), '"', "'"])),
        explicit_start=draw(st.sampled_from([False, False, False, True])),
        indent=draw(st.sampled_from([2, 4])),
        width=draw(st.sampled_from([20, 80, 10_000])),
        allow_unicode=draw(st.booleans()),
        line_break=draw(st.sampled_from(["\n", "\r\n"])),
        sort_keys=False,
    )
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + str(text).encode("utf-8", "surrogatepass")


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """The same, with a few bytes changed as an editor, or somebody's hand, may do it."""
    file = bytearray(draw(dumped()))
    pieces = st.sampled_from(
        [b" ", b"  ", b"\n", b":", b": ", b"- ", b"#", b" #", b"\t", b'"', b"'", b"[", b"]", b"{", b"}", b","]
    )
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(file)))
        file[at : at + draw(st.integers(0, 2))] = draw(pieces)
    return bytes(file)


WORDS = [
    *(
        "a",
        "b:",
        "c: ",
        "? ",
        ": ",
        "- ",
        "-",
        "[",
        "]",
        "{",
        "}",
        ",",
        "#",
        " #",
        "\n",
        "\n ",
        "\n  ",
        "\n    ",
        " ",
        "\t",
        '"',
        "'",
    ),
    *(
        "|\n",
        ">-\n",
        "|2\n",
        "&x ",
        "*x",
        "!t ",
        "---\n",
        "...\n",
        "<<: ",
        "%YAML 1.1\n",
        "\\",
        "\\x41",
        "''",
        "\r\n",
        "\u00e9",
        "=",
    ),
    *(
        "otlp_config:",
        "\notlp_config: ",
        "serverless_appsec_enabled: ",
        "\nextension_version: ",
        "compatibility",
        "true",
        "false",
    ),
    *(
        "null",
        "0",
        "0x",
        "1",
        "enabled: ",
        '"enabled": ',
        "{enabled: true}",
        "2024-01-01",
        "0b_",
        "\ufeff",
        "\u2028",
        "\x85",
        "\0",
    ),
]
soup = st.lists(st.sampled_from(WORDS), max_size=14).map(lambda words: "".join(words).encode())


# --- what people write: here the scanner has no excuse ---

PLAIN = [
    *(
        "true",
        "false",
        "yes",
        "off",
        "null",
        "~",
        "",
        "4318",
        "1",
        "0",
        "1.5",
        "datadoghq.eu",
        "compatibility",
        "next",
        "prod",
    ),
    *(
        "env:prod",
        "https://http-intake.logs.datadoghq.eu:443",
        "0.0.0.0:4318",
        "localhost:4317",
        "a#b",
        "-x",
        "arn:aws:ssm:eu:1:x",
    ),
    *('"quoted: yes"', '"true"', "'it is'", "'# no comment'", '""', "'\\d+'", '"caf\u00e9"', "caf\u00e9", '"[x]"'),
]
NAMES = [
    *OTLP_KEYS,
    "site",
    "service",
    "env",
    "logs_config",
    "apm_config",
    "tags",
    "replace_tags",
    "pattern",
    "url.path",
    "a-b",
]
SEQUENCES = ["[]", "[a, b]", "[\"k:v\", 'x y' ]", "[1, [true, {a: b}]]", "[\n  a, # first\n  b\n]"]
MAPPINGS = ["{}", "{a: b}", '{"a": [1], b: }', "{ a: {enabled: true} }"]


@st.composite
def entries(draw: st.DrawFn, depth: int, indent: int) -> list[str]:
    """Lines of a mapping, written as by hand."""
    names = [*NAMES, *WATCHED] if depth == 0 else NAMES
    lines: list[str] = []
    for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True)):
        key = draw(st.sampled_from([name, name, name, f'"{name}"', f"'{name}'"]))
        lines += draw(st.sampled_from([[], [], [" " * indent + "# about the next"], [""], ["  "]]))
        lines += draw(entry(" " * indent + key, depth, indent))
    return lines


@st.composite
def entry(draw: st.DrawFn, start: str, depth: int, indent: int) -> list[str]:
    """One key with its value: on the line or below it."""
    comment = draw(st.sampled_from(["", "", "  # why", " "]))
    kind = draw(st.sampled_from(["scalar", "scalar", "scalar", "flow", "mapping", "list", "objects", "text"]))
    deeper = indent + draw(st.sampled_from([2, 4, 1]))
    if kind == "mapping" and depth < 4:
        return [f"{start}:{comment}", *draw(entries(depth + 1, deeper))]
    if kind == "list":
        margin = " " * draw(st.sampled_from([indent, deeper]))
        return [
            f"{start}:{comment}",
            *(f"{margin}- {item}" for item in draw(st.lists(st.sampled_from(PLAIN), min_size=1, max_size=3))),
        ]
    if kind == "objects" and depth < 3:
        first, *rest = draw(
            entries(depth + 1, deeper + 2).filter(lambda lines: lines[0].strip(" ")[:1] not in ("", "#"))
        )
        return [f"{start}:{comment}", f"{' ' * deeper}- {first.lstrip()}", *rest]
    if kind == "text" and not any(name in start for name in WATCHED) and depth == 0:
        return [f"{start}: |", f"{' ' * deeper}some: text", "", f"{' ' * deeper}  - *more"]
    if kind == "flow" and indent < 2:
        return [f"{start}: {draw(st.sampled_from([*SEQUENCES, *MAPPINGS]))}{comment}"]
    return [f"{start}: {draw(st.sampled_from(PLAIN))}{comment}"]


@st.composite
def handwritten(draw: st.DrawFn) -> bytes:
    """A file as people write it."""
    head = draw(st.sampled_from(["", "", "---\n", "# Datadog\n\n", "# x\n--- # y\n", "\ufeff"]))
    ending = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    text = head + "\n".join(draw(entries(0, 0))) + draw(st.sampled_from(["\n", "", "\n\n# end\n"]))
    return text.replace("\n", ending).encode()
