/* Made by build/rules_header.py from src/fliptop/settings/rules.py, which explains every part. Do not edit. */
#ifndef FLIPTOP_RULES_H
#define FLIPTOP_RULES_H

#include <stdbool.h>

#define SHARED __attribute__((unused)) static const

enum reason {
	REASON_EXTENSION_VERSION,
	REASON_APPSEC_ENABLED,
	REASON_OTEL,
	REASON_FIPS,
	REASON_LIBC,
	REASON_EXTENSION_MISSING,
	REASON_ARCHITECTURE,
	REASON_LOADER,
	REASON_FAILED_TO_START,
	REASON_COUNT
};

SHARED struct {
	const char *name;
	const char *what_to_do;
} REASONS[REASON_COUNT] = {
	{"extension_version", "To use the new extension, remove DD_EXTENSION_VERSION or set it to next."},
	{"appsec_enabled", "App and API Protection needs the legacy extension. To use the new one, set DD_SERVERLESS_APPSEC_ENABLED and DD_APPSEC_ENABLED to false."},
	{"otel", "OpenTelemetry ingestion needs the legacy extension. To use the new one, remove DD_TRACE_OTEL_ENABLED, every DD_OTLP_CONFIG_ variable, and otlp_config from datadog.yaml."},
	{"fips", "FIPS cryptography needs the legacy extension. To use the new one, run outside GovCloud regions and remove DD_LAMBDA_FIPS_MODE."},
	{"libc", "The new extension needs glibc 2.34 or newer. To use it, choose a runtime on Amazon Linux 2023 (python3.12, nodejs20.x, java21, provided.al2023, or newer)."},
	{"extension_missing", "The layer does not hold a new extension that can be started. Attach the published layer for the function's architecture again."},
	{"architecture", "The new extension in this layer is for another architecture. Attach the published layer for the function's architecture."},
	{"loader", "The file that loads the new extension is missing on this machine. To use it, choose a base image with a complete glibc, such as those of AWS."},
	{"failed_to_start", "The new extension has died in this environment each time it was started. The lines before tell what it died of; a new environment tries it again."},
};

enum predicate {
	IS_TRUE,
	EQUALS,
	STARTS_WITH,
	IN_USE,
};

struct field {
	enum reason reason;
	enum predicate predicate;
	const char *key; /* lower case, without prefix; if not prefixed, the whole name as it is */
	const char *operand;
	const char *yaml; /* top-level key, NULL: none */
	bool prefixed;
	bool wildcard; /* key: every key that starts so; yaml: everything below it */
};

#define FIELD_COUNT 8

SHARED struct field FIELDS[FIELD_COUNT] = {
	{REASON_EXTENSION_VERSION, EQUALS, "extension_version", "compatibility", "extension_version", true, false},
	{REASON_APPSEC_ENABLED, IS_TRUE, "serverless_appsec_enabled", "", "serverless_appsec_enabled", true, false},
	{REASON_APPSEC_ENABLED, IS_TRUE, "appsec_enabled", "", "appsec_enabled", true, false},
	{REASON_OTEL, IN_USE, "otlp_config_", "", "otlp_config", true, true},
	{REASON_OTEL, IS_TRUE, "trace_otel_enabled", "", "trace_otel_enabled", true, false},
	{REASON_FIPS, IS_TRUE, "lambda_fips_mode", "", 0, true, false},
	{REASON_FIPS, STARTS_WITH, "AWS_REGION", "us-gov-", 0, false, false},
	{REASON_FIPS, STARTS_WITH, "AWS_DEFAULT_REGION", "us-gov-", 0, false, false},
};

SHARED char *const PREFIXES[] = {"dd_", "datadog_", 0};
SHARED char *const TRUE_WORDS[] = {"true", "t", "yes", "y", "on", "1", "1.0", 0};
SHARED char *const FALSE_WORDS[] = {"false", "f", "no", "n", "off", "0", "0.0", 0};

#define MINIMUM_GLIBC_MAJOR 2
#define MINIMUM_GLIBC_MINOR 34

#endif
