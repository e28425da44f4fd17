"""What Lambda is told to run: the handler of Datadog's library, which runs the one that DD_LAMBDA_HANDLER names."""

import os
import sys

sys.path.insert(0, os.environ["CLIENT_PACKAGES"])

from datadog_lambda.handler import handler

__all__ = ["handler"]
