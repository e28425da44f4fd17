"""Write `launcher/rules.h` from the table in `src/fliptop/settings/rules.py`.

Run it after changing a rule. `--check` writes nothing and fails when the header is not current (a test runs it).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "launcher" / "rules.h"
sys.path.insert(0, str(ROOT / "src"))

from fliptop.settings import rules  # noqa: E402

TEMPLATE = """\
/* Made by build/rules_header.py from src/fliptop/settings/rules.py, which explains every part. Do not edit. */
#ifndef FLIPTOP_RULES_H
#define FLIPTOP_RULES_H

#include <stdbool.h>

#define SHARED __attribute__((unused)) static const

enum reason {{
{reasons}
	REASON_COUNT
}};

SHARED struct {{
	const char *name;
	const char *what_to_do;
}} REASONS[REASON_COUNT] = {{
{texts}
}};

enum predicate {{
{predicates}
}};

struct field {{
	enum reason reason;
	enum predicate predicate;
	const char *key; /* lower case, without prefix; if not prefixed, the whole name as it is */
	const char *operand;
	const char *yaml; /* top-level key, NULL: none */
	bool prefixed;
	bool wildcard; /* key: every key that starts so; yaml: everything below it */
}};

#define FIELD_COUNT {field_count}

SHARED struct field FIELDS[FIELD_COUNT] = {{
{fields}
}};

SHARED char *const PREFIXES[] = {{{prefixes}, 0}};
SHARED char *const TRUE_WORDS[] = {{{true_words}, 0}};
SHARED char *const FALSE_WORDS[] = {{{false_words}, 0}};

#define MINIMUM_GLIBC_MAJOR {glibc[0]}
#define MINIMUM_GLIBC_MINOR {glibc[1]}

#endif
"""


def header() -> str:
    """Return what `launcher/rules.h` must contain."""
    lines = [(rule, field) for rule in rules.RULES for field in rule.fields]
    return TEMPLATE.format(
        reasons="\n".join(f"\t{_constant(rule)}," for rule in rules.RULES),
        texts="\n".join(f"\t{{{_c(rule.reason)}, {_c(rule.what_to_do)}}}," for rule in rules.RULES),
        predicates="\n".join(f"\t{predicate.name}," for predicate in rules.Predicate),
        field_count=len(lines),
        fields="\n".join(f"\t{_field(rule, field)}," for rule, field in lines),
        prefixes=_words(rules.PREFIXES),
        true_words=_words(rules.TRUE_WORDS),
        false_words=_words(rules.FALSE_WORDS),
        glibc=rules.MINIMUM_GLIBC,
    )


def _constant(rule: rules.Rule) -> str:
    return f"REASON_{rule.reason.upper()}"


def _field(rule: rules.Rule, field: rules.Field) -> str:
    key = field.key.removesuffix("*") if field.prefixed else field.key.upper()
    parts = (
        _constant(rule),
        field.predicate.name,
        _c(key),
        _c(field.operand),
        _c(field.yaml) if field.yaml else "0",
        str(field.prefixed).lower(),
        str(field.key.endswith("*")).lower(),
    )
    return "{" + ", ".join(parts) + "}"


def _words(words: tuple[str, ...]) -> str:
    return ", ".join(map(_c, words))


def _c(text: str) -> str:
    # JSON's escapes are a subset of C's for ASCII, and the table is ASCII.
    return json.dumps(text)


def main() -> int:
    wanted = header()
    if HEADER.is_file() and HEADER.read_text() == wanted:
        return 0
    if "--check" in sys.argv[1:]:
        print("launcher/rules.h does not match src/fliptop/settings/rules.py. Fix: python build/rules_header.py")
        return 1
    HEADER.write_text(wanted)
    print(f"wrote {HEADER.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
