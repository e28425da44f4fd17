"""A typical configuration, for whatever measures what deciding on one costs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

VARIABLES: Final = 40


def typical_environment(task_root: Path) -> dict[str, str]:
    """What a function with Datadog's usual settings hands to its extensions: 40 variables."""
    lambda_own = {
        "LAMBDA_TASK_ROOT": str(task_root),
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_LAMBDA_FUNCTION_NAME": "orders-api-production",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_EXEC_WRAPPER": "/opt/datadog_wrapper",
        "AWS_ACCESS_KEY_ID": "A" * 20,
        "AWS_SECRET_ACCESS_KEY": "s" * 40,
        "AWS_SESSION_TOKEN": "t" * 700,
        "PATH": "/usr/local/bin:/usr/bin/:/bin:/opt/bin",
        "LD_LIBRARY_PATH": "/lib64:/usr/lib64:/var/lang/lib:/var/runtime:/var/task:/opt/lib",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
    }
    datadog = {
        "DD_API_KEY_SECRET_ARN": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:datadog-AbCdEf",
        "DD_SITE": "datadoghq.eu",
        "DD_ENV": "production",
        "DD_SERVICE": "orders-api",
        "DD_VERSION": "1.42.0",
        "DD_TAGS": "team:shop,stage:prod",
        "DD_LOG_LEVEL": "info",
        "DD_TRACE_ENABLED": "true",
        "DD_SERVERLESS_LOGS_ENABLED": "true",
        "DD_SERVERLESS_APPSEC_ENABLED": "false",
        "DD_CAPTURE_LAMBDA_PAYLOAD": "false",
        "DD_EXTENSION_VERSION": "next",
    }
    environ = lambda_own | datadog
    return environ | {f"APPLICATION_SETTING_{n}": "some value" for n in range(VARIABLES - len(environ))}


FILE_HEAD = """\
# Settings of the orders service
site: datadoghq.eu
log_level: info
tags:
  - team:shop
  - "stage:prod"
apm_config:
  replace_tags: [{name: http.url, pattern: 'token=[^&]*', repl: '?'}]
logs_config:
  processing_rules:
"""
FILE_RULE = """\
    - type: mask_sequences
      name: mask_number   # cards, accounts
      pattern: "number=\\\\d{4,16}"
      replace_placeholder: '[number]'
"""


def typical_file() -> str:
    """A datadog.yaml of two kilobytes: tags, log rules, trace settings, comments."""
    return FILE_HEAD + FILE_RULE * ((2048 - len(FILE_HEAD)) // len(FILE_RULE) + 1)
