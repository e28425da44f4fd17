"""Whom to believe: certificate authorities, and how few of them are enough.

OpenSSL parses every root it is given, and the whole bundle takes ten times as long as the few that Datadog's and AWS's
hosts chain to. So these come first; verification stays complete, and when they do not do, the whole bundle has the
final word.
"""

import os
import ssl
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

# Nobody publishes which authority an intake uses, and it changes: chains of *.logs.datadoghq.com that are quoted in
# public lead to Sectigo's USERTrust (until 2022) and DigiCert (since). AWS's come from Amazon Trust Services, whose
# repository lists these five. A wrong guess costs a second handshake, once. The names are certifi's.
DATADOG_ROOTS: Final = (
    "DigiCert Global Root G2",
    "DigiCert Global Root G3",
    "DigiCert TLS RSA4096 Root G5",
    "DigiCert TLS ECC P384 Root G5",
    "USERTrust RSA Certification Authority",
)
AWS_ROOTS: Final = (
    "Amazon Root CA 1",
    "Amazon Root CA 2",
    "Amazon Root CA 3",
    "Amazon Root CA 4",
    "Starfield Services Root Certificate Authority - G2",
)
ALL_ROOTS: Final = ()
_BY_DOMAIN: Final = {
    (".datadoghq.com", ".datadoghq.eu", ".ddog-gov.com"): DATADOG_ROOTS,
    (".amazonaws.com", ".amazonaws.com.cn"): AWS_ROOTS,
}
_END: Final = "-----END CERTIFICATE-----\n"
# X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, _SELF_SIGNED_CERT_IN_CHAIN, _UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
# _UNABLE_TO_VERIFY_LEAF_SIGNATURE: some root is not among ours. All others mean that the certificate is no good.
_UNKNOWN_ISSUER: Final = frozenset({2, 19, 20, 21})


class TlsOptions(NamedTuple):
    """`ca_file` adds a PEM bundle to the roots; `verify` False accepts any certificate."""

    ca_file: str = ""
    verify: bool = True


class Trust:
    """TLS contexts, each made when first asked for."""

    def __init__(self, options: TlsOptions) -> None:
        self._options = options
        # Who names a bundle of his own (the variables that OpenSSL and httpx read) wants that one.
        self._file, self._directory = (os.environ.get(f"SSL_CERT_{kind}") or None for kind in ("FILE", "DIR"))
        self._contexts: dict[tuple[str, ...], ssl.SSLContext] = {}
        self.few_do = options.verify and not (self._file or self._directory)
        """False when the few roots are of no use, or have turned out not to do."""

    def roots(self, host: str) -> tuple[str, ...]:
        """The names of the roots to try `host` with: few, or `ALL_ROOTS`."""
        found = (roots for domains, roots in _BY_DOMAIN.items() if host.endswith(domains))
        return next(found, ALL_ROOTS) if self.few_do else ALL_ROOTS

    def context(self, roots: tuple[str, ...]) -> ssl.SSLContext:
        """A context with these roots. Raises `ValueError` for a bad `ca_file`."""
        if roots not in self._contexts:
            self._contexts[roots] = self._made(roots) if self._options.verify else without_verification()
        return self._contexts[roots]

    def _made(self, roots: tuple[str, ...]) -> ssl.SSLContext:
        few = pem(roots) or None
        file = self._file if few or self._file or self._directory else str(bundle())
        context = ssl.create_default_context(cafile=file, capath=self._directory, cadata=few)
        if self._options.ca_file:
            try:
                context.load_verify_locations(self._options.ca_file)
            except OSError as problem:
                raise ValueError(f"DD_TLS_CERT_FILE={self._options.ca_file}: {problem}") from problem
        return context


def without_verification() -> ssl.SSLContext:
    """A context for connections that have nothing to verify, or shall not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def bundle() -> Path:
    """certifi's bundle. Importing certifi to ask for it would import half of importlib.resources."""
    spec = find_spec("certifi")
    if spec is None or not spec.origin:
        raise ValueError("the bundle of root certificates (certifi) is missing from this layer")
    return Path(spec.origin).with_name("cacert.pem")


def pem(roots: tuple[str, ...]) -> str:
    """The roots of these names, less those that the bundle does not have."""
    text = bundle().read_text("ascii", "replace") if roots else ""
    return "".join(_certificate(text, root) for root in roots)


def _certificate(text: str, name: str) -> str:
    label = text.find(f'# Label: "{name}"\n')
    begin, end = (text.find(mark, label) for mark in ("-----BEGIN CERTIFICATE-----", _END))
    return text[begin : end + len(_END)] if label >= 0 else ""


def unknown_issuer(problem: BaseException | None) -> bool:
    """True if `problem` comes from a certificate whose root is not among those that were given."""
    while problem is not None:
        if isinstance(problem, ssl.SSLCertVerificationError):
            return problem.verify_code in _UNKNOWN_ISSUER
        problem = problem.__cause__ or problem.__context__
    return False
