"""The variables the runtime and the extensions find (Lambda guide, "Defined runtime variables")."""

from fliptop_lab.lambda_.config import Function

DEFAULT_PATH = "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin"
LIBRARY_PATH = "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib"


def shared(function: Function, api: str, opt: str = "/opt") -> dict[str, str]:
    """What every process gets; the customer's variables win over all but reserved ones, which `Function` refused."""
    ours = {
        "AWS_ACCESS_KEY_ID": "LABACCESSKEYID",
        "AWS_SECRET_ACCESS_KEY": "lab-secret-access-key",
        "AWS_SESSION_TOKEN": "lab-session-token",
        "AWS_DEFAULT_REGION": function.region,
        "AWS_REGION": function.region,
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": function.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_RUNTIME_API": api,
    }
    defaults = {"PATH": DEFAULT_PATH, "LD_LIBRARY_PATH": LIBRARY_PATH, "LANG": "en_US.UTF-8", "TZ": ":UTC"}
    moved = {name: value.replace("/opt/", f"{opt}/") for name, value in defaults.items()}
    return {**moved, **function.environment, **ours}


def for_extensions(function: Function, api: str, opt: str = "/opt") -> dict[str, str]:
    """An extension's variables: no handler, log group, X-Ray or task root, nothing with a leading underscore."""
    return {name: value for name, value in shared(function, api, opt).items() if not name.startswith("_")}


def for_runtime(function: Function, api: str, log_stream: str, roots: tuple[str, str]) -> dict[str, str]:
    """The runtime's variables: all of them. `roots` are the places of /opt and /var/task."""
    opt, task = roots
    language, _, rest = function.runtime_version.partition(":")
    modules = {
        "PYTHONPATH": f"{opt}/python",
        "NODE_PATH": f"{opt}/nodejs/node_modules:{task}/node_modules",
    }
    return {
        **modules,
        **shared(function, api, opt),
        "_HANDLER": function.handler,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{language}{rest.partition('.v')[0]}",
        "AWS_LAMBDA_LOG_FORMAT": function.log_format,
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": "169.254.79.129:2000",
        "_AWS_XRAY_DAEMON_ADDRESS": "169.254.79.129",
        "_AWS_XRAY_DAEMON_PORT": "2000",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LAMBDA_TASK_ROOT": task,
    }
