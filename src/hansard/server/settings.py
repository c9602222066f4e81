"""How a server runs: from a file, the environment and flags, in this order; the later ones win."""

import tomllib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from hansard.errors import InvalidInput, OpenFailed

_ENVIRONMENT: Final = "HANSARD_"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Each field is a key of the configuration file (TOML), an environment variable (HANSARD_ and its name in capitals), and a
    flag of `hansard serve`.

    - `host`, `port`: where it listens. Other addresses than this machine's own need TLS and authentication.
    - `tls_certificate`, `tls_key`: files in PEM.
    - `authentication`: whether a key or token is asked for; unless said, on any address but this machine's own.
    - `allow_insecure`: listen on other addresses without TLS or authentication. Everybody who reaches it can read and change all.
    - `jwt_jwks` (a file or https URL), `jwt_audience`, `jwt_issuer`: whose tokens are taken.
    - `rate_per_s`: requests a second for each client; unless said, as many as there are.
    - `slow_ms`: appends and reads that take longer are logged.
    - `allowed_hosts`: names by which the server is asked, beside its own; needed behind a proxy.
    """

    host: str = "127.0.0.1"
    port: int = 7878
    tls_certificate: str | None = None
    tls_key: str | None = None
    authentication: bool | None = None
    allow_insecure: bool = False
    read_only: bool = False
    jwt_jwks: str | None = None
    jwt_audience: str | None = None
    jwt_issuer: str | None = None
    rate_per_s: float | None = None
    slow_ms: float = 500.0
    log_format: str = "text"
    log_level: str = "info"
    allowed_hosts: tuple[str, ...] = ()
    stop_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise InvalidInput("port", self.port, "expected 0 to 65535 (0: any free one)")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise InvalidInput("tls_key", self.tls_key, "give a certificate and its key, or neither")
        if self.jwt_jwks is not None and not self.jwt_audience:
            raise InvalidInput("jwt_audience", self.jwt_audience, "name the audience that tokens must be meant for")
        if not self.slow_ms >= 0:
            raise InvalidInput("slow_ms", self.slow_ms, "expected 0 or more")
        if self.rate_per_s is not None and not self.rate_per_s > 0:
            raise InvalidInput("rate_per_s", self.rate_per_s, "expected more than 0")
        if self.log_format not in ("text", "json"):
            raise InvalidInput("log_format", self.log_format, "expected text or json")
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise InvalidInput("log_level", self.log_level, "expected debug, info, warning or error")
        if not 0 < self.stop_timeout_s <= 3_600:
            raise InvalidInput("stop_timeout_s", self.stop_timeout_s, "expected more than 0 to 3600 seconds")


class Configuration(msgspec.Struct, frozen=True):
    """Settings, and where each comes from: "default", "file", "environment" or "flag"."""

    settings: Settings
    sources: dict[str, str]


def configured(file: str | None, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Configuration:
    """Raises InvalidInput, which names the setting and where it comes from."""
    layers = {
        "file": _from_file(file) if file else {},
        "environment": _from_environment(environment),
        "flag": {name: value for name, value in flags.items() if value is not None},
    }
    values: dict[str, Any] = {}
    sources = dict.fromkeys(Settings.__struct_fields__, "default")
    for source, layer in layers.items():
        for name, value in layer.items():
            values[name] = _converted(name, value, source)
            sources[name] = source
    return Configuration(Settings(**values), sources)


def _from_file(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise OpenFailed(f"{path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput("config", path, f"not valid TOML: {error}") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    names = {f"{_ENVIRONMENT}{name.upper()}": name for name in Settings.__struct_fields__}
    found: dict[str, Any] = {names[key]: value for key, value in environment.items() if key in names}
    if "allowed_hosts" in found:
        found["allowed_hosts"] = [host.strip() for host in found["allowed_hosts"].split(",") if host.strip()]
    return found


def _converted(name: str, value: Any, source: str) -> Any:
    fields = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    if name not in fields:
        raise InvalidInput(name, value, f"there is no such setting (from the {source}); known are {', '.join(fields)}")
    try:
        return msgspec.convert(value, fields[name], strict=source == "file")
    except msgspec.ValidationError as error:
        raise InvalidInput(name, value, f"{str(error).replace('`', '')} (from the {source})") from None
