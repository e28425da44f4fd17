"""The snippets of docs/attach.md, through the tools that they are for. No account, no network but a package index."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.attach.documents import DOCS, snippet
from tests.unit.build import samples

tools = samples.load("tools")

LAYER = "arn:aws:lambda:eu-west-1:111122223333:layer:fliptop-arm64:1"
SECRET = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:datadog-AbCdEf"
# Matters of style that are the generating tool's: DependsOn where it need not be, Join where Sub would be nicer.
GENERATED = ("--ignore-checks", "W3005", "I")
TRANSLATE = """\
import json, sys
from samtranslator.translator.transform import transform
from cfnlint.decode.cfn_yaml import load
class Policies:
    def load(self): return {}
print(json.dumps(transform(json.loads(json.dumps(load(sys.argv[1]))), {}, Policies())))
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def python() -> Path:
    return Path(tools.python_tools())


@pytest.fixture(scope="module")
def node() -> Path:
    if shutil.which("npm") is None:
        pytest.skip("needs Node.js")
    return Path(tools.node_tools())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "app.py").write_text("def handler(event, context):\n    return {}\n")
    return tmp_path


def run(*command: Path | str, cwd: Path, **environment: str) -> str:
    # Not the machine's own settings: what a tool finds in them would not be what people copy.
    environ = {"PATH": os.environ["PATH"], "HOME": str(cwd), "AWS_DEFAULT_REGION": "eu-west-1", **environment}
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def lint(python: Path, template: Path, *options: str) -> None:
    assert run(python / "cfn-lint", "--include-checks", "I", *options, "--", template, cwd=template.parent) == ""


def functions(template: dict[str, Any]) -> list[dict[str, Any]]:
    return [each["Properties"] for each in template["Resources"].values() if each["Type"] == "AWS::Lambda::Function"]


def assert_attached(template: dict[str, Any], layer: object, secret: object) -> None:
    """One function, with the layer, its settings, and the right to read the key."""
    (function,) = functions(template)
    assert function["Layers"] == [layer]
    variables = function["Environment"]["Variables"]
    assert variables == {"DD_API_KEY_SECRET_ARN": secret, "DD_SITE": "datadoghq.com", "DD_SERVICE": "shop"}
    assert "secretsmanager:GetSecretValue" in json.dumps(template)


def test_sam(python: Path, project: Path) -> None:
    template = project / "template.yaml"
    template.write_text(snippet("SAM", "yaml"))
    lint(python, template)
    # The translator wants to see code that was uploaded.
    template.write_text(template.read_text().replace("CodeUri: src/", "CodeUri: s3://bucket/key"))
    translated = json.loads(run(python / "python", "-c", TRANSLATE, template, cwd=project))
    assert_attached(translated, {"Ref": "FliptopLayer"}, {"Ref": "DatadogApiKeySecret"})


def test_cloudformation(python: Path, project: Path) -> None:
    template = project / "template.yaml"
    template.write_text(snippet("CloudFormation", "yaml"))
    lint(python, template)


def test_cdk(python: Path, node: Path, project: Path) -> None:
    (project / "app.mjs").write_text(snippet("CDK", "ts"))
    (project / "node_modules").symlink_to(node / "node_modules")
    run("node", "app.mjs", cwd=project, CDK_OUTDIR="out")
    template = project / "out" / "Shop.template.json"
    lint(python, template, *GENERATED)
    assert_attached(json.loads(template.read_text()), {"Ref": "FliptopLayer"}, {"Ref": "DatadogApiKeySecret"})


def test_serverless_framework(python: Path, node: Path, project: Path) -> None:
    (project / "serverless.yml").write_text(snippet("Serverless Framework", "yaml"))
    values = ("--param", f"fliptopLayer={LAYER}", "--param", f"datadogApiKeySecret={SECRET}")
    run(node / "node_modules" / ".bin" / "osls", "package", *values, cwd=project, SLS_TELEMETRY_DISABLED="1")
    template = project / ".serverless" / "cloudformation-template-update-stack.json"
    lint(python, template, *GENERATED)
    assert_attached(json.loads(template.read_text()), LAYER, SECRET)


def test_terraform(python: Path, project: Path) -> None:
    (project / "main.tf").write_text(snippet("Terraform", "hcl"))
    parse = "import hcl2, json, sys; print(json.dumps(hcl2.load(open(sys.argv[1]))))"
    parsed = json.loads(run(python / "python", "-c", parse, "main.tf", cwd=project))
    flat = json.dumps(parsed).replace('\\"', "")
    assert "layers: [${var.fliptop_layer}]" in flat.replace('"', "")
    for name in ("DD_API_KEY_SECRET_ARN", "DD_SITE", "DD_SERVICE", "secretsmanager:GetSecretValue"):
        assert name in flat
    if terraform := shutil.which("terraform"):
        assert run(terraform, "fmt", "-check", "-diff", "main.tf", cwd=project) == ""


def test_container_image(python: Path, project: Path) -> None:
    (project / "Dockerfile").write_text(snippet("Container image", "dockerfile"))
    assert run(python / "hadolint", "--no-color", "Dockerfile", cwd=project) == ""


def test_the_container_image_has_all_that_the_layer_has(tmp_path: Path) -> None:
    """The page's own command on a layer, as the COPY finds it: every file, and programs that may be started."""
    layers = sorted((DOCS.parent / "dist").glob("fliptop-*.zip"))
    if not layers or shutil.which("unzip") is None:
        pytest.skip("needs a layer (`make layer`) and unzip")
    shutil.copy(layers[0], tmp_path / "fliptop-x86_64.zip")
    assert "unzip -q fliptop-x86_64.zip -d opt" in (DOCS / "attach.md").read_text()
    run("unzip", "-q", "fliptop-x86_64.zip", "-d", "opt", cwd=tmp_path)
    for name in ("extensions/datadog-agent", "fliptop/fliptop", "datadog_wrapper"):
        assert os.access(tmp_path / "opt" / name, os.X_OK)
