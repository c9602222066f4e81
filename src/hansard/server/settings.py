"""How a server runs. Filled from a file, the environment and flags by `hansard serve`."""

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Each field is a key of the configuration file, and an environment variable: HANSARD_ and its name in capitals."""

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
    slow_ms: int = 500
    log_format: str = "text"
    log_level: str = "info"
    allowed_hosts: tuple[str, ...] = ()
    stop_timeout_s: float = 10.0
