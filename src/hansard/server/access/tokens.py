"""JSON Web Tokens (RFC 7519), signed by keys of a JWKS (RFC 7517). PyJWT checks them; this module says what they must hold."""

import json
import time
from http.client import HTTPException
from typing import Any, Final
from urllib.request import HTTPRedirectHandler, build_opener

import jwt

from hansard.errors import HansardError, InvalidInput, NotAuthenticated, OpenFailed
from hansard.server.access.permissions import Grant, Principal, grants_of

_ALGORITHMS: Final = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Asymmetric ones only: with a public key set nobody but the issuer can sign."""
_REFRESH_S: Final = 300.0
_REFRESH_WHEN_WANTING_S: Final = 10.0
_FETCH_S: Final = 5.0
_LEEWAY_S: Final = 30
_JWKS_BYTES_MAX: Final = 1_000_000


class _OnlyHttps(HTTPRedirectHandler):
    """Whoever is on the way could give keys of their own."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.startswith("https://"):
            raise OSError(f"it leads to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_opener = build_opener(_OnlyHttps)


class Tokens:
    """Tokens of one issuer. Claims: `sub` is the name; `scope` (or `permissions`) says what is allowed, such as
    "read append:order*". `exp` and `aud` must be there; `refresh` is to be called in a thread."""

    def __init__(self, jwks: str, *, audience: str, issuer: str | None) -> None:
        if not audience:
            raise InvalidInput("jwt_audience", audience, "a token must be meant for this server: name its audience")
        if jwks.startswith("http://"):
            raise InvalidInput("jwt_jwks", jwks, "whoever is on the way could give keys of their own; expected https, or a file")
        self._jwks = jwks
        self._audience = audience
        self._issuer = issuer
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._tried_s = float("-inf")
        self._is_wanting = False

    @property
    def is_old(self) -> bool:
        """Sooner after a try that failed, or a token with a key that is not known yet: the issuer may have changed its keys."""
        return time.monotonic() - self._tried_s > (_REFRESH_WHEN_WANTING_S if self._is_wanting else _REFRESH_S)

    def refresh(self) -> None:
        """Raises OpenFailed if the key set cannot be read."""
        self._tried_s, self._is_wanting = time.monotonic(), True
        try:
            key_set = jwt.PyJWKSet.from_dict(json.loads(self._read()))
        except (OSError, HTTPException, ValueError, TypeError, AttributeError, jwt.PyJWTError) as error:
            raise OpenFailed(f"{self._jwks}: not a key set that can be read: {error}") from error
        self._keys = {key.key_id: key for key in key_set.keys}
        self._is_wanting = False

    def _read(self) -> bytes:
        if self._jwks.startswith("https://"):
            with _opener.open(self._jwks, timeout=_FETCH_S) as response:
                return bytes(response.read(_JWKS_BYTES_MAX))
        with open(self._jwks, "rb") as file:
            return file.read(_JWKS_BYTES_MAX)

    def principal(self, text: str) -> Principal:
        """Whom a token names. Raises NotAuthenticated, which says what is wrong with it."""
        try:
            claims = self._claims(text)
            return Principal(str(claims["sub"]), grants_of(_permissions_in(claims)))
        except (jwt.PyJWTError, KeyError, HansardError) as error:
            raise NotAuthenticated(f"the token is not accepted: {error}") from None

    def _claims(self, text: str) -> dict[str, Any]:
        key_id = jwt.get_unverified_header(text).get("kid")
        key = self._keys.get(key_id) or (next(iter(self._keys.values())) if key_id is None and len(self._keys) == 1 else None)
        if key is None:
            self._is_wanting = True
            raise NotAuthenticated("it is signed with a key that the key set does not have")
        claims: dict[str, Any] = jwt.decode(
            text,
            key,
            algorithms=_ALGORITHMS,
            audience=self._audience,
            issuer=self._issuer,
            leeway=_LEEWAY_S,
            options={"require": ["exp", "aud", "sub"]},
        )
        return claims


def _permissions_in(claims: dict[str, Any]) -> list[str]:
    """What is meant for us: of `permissions` all of it; of a scope, which says other things, too, what names a permission."""
    if "permissions" in claims:
        return _texts(claims["permissions"])
    scopes = [text for name in ("scope", "scp") for text in _texts(claims.get(name, ""))]
    return [text for text in scopes if _is_ours(text)]


def _is_ours(scope: str) -> bool:
    try:
        Grant.parse(scope)
    except HansardError:
        return False
    return True


def _texts(given: Any) -> list[str]:
    return [str(item) for item in given] if isinstance(given, list) else str(given).split()
