"""Forwarding events to a webhook: signed, retried, in order within each stream, at least once.

The body is a CloudEvent in structured mode (https://github.com/cloudevents/spec, JSON format 1.0); the signature is that of
Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA-256 over id, time stamp and body.
"""

import base64
import hmac
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from hansard.errors import InvalidInput, InvalidType, WebhookRefused
from hansard.events import RecordedEvent
from hansard.limits import WEBHOOK_SECRET_BYTES_MIN
from hansard.processors.definitions import PARK, OnFailure, Processor, Retry
from hansard.query import Query

_PATIENT = Retry(attempts=10, first_s=0.5, factor=3.0, max_s=600.0)
_OWN_HEADERS = {"content-type", "webhook-id", "webhook-timestamp", "webhook-signature", "content-length", "host"}


class Webhook(Processor):
    """Hands each event on to `url` by POST: `store.run(Webhook("billing", "https://…", secret="…"))`.

    - `secret`: signs the body; at least 16 bytes. `headers`: more headers, such as an authorization.
    - `source`: the CloudEvents source, by which the receiver tells your log from others.
    - An answer of 2xx is success. Anything else is a failed attempt: tried again (see `retry`), then, by default, parked with
      the later events of its stream. Redirects are not followed.
    - A new webhook begins at the head of the log; give `after=0` for the whole history.

    Guarantee: each event at least once, those of a stream in order. The receiver may see an event again after a crash, with
    the same `webhook-id` (the event's id).
    """

    kind = "webhook"

    def __init__(
        self,
        name: str,
        url: str,
        *,
        secret: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        source: str = "hansard",
        query: Query | None = None,
        after: int | Literal["head"] = "head",
        version: int = 1,
        partitions: int = 1,
        retry: Retry = _PATIENT,
        on_failure: OnFailure | str = PARK,
        timeout_s: float = 10.0,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._post = _poster(url, timeout_s)
        self._secret = _checked_secret(secret)
        self._headers = _checked_headers(headers or {})
        self._source = source
        self._clock_s = clock_s
        super().__init__(
            name,
            self._forward,
            query=query,
            after=after,
            version=version,
            partitions=partitions,
            retry=retry,
            on_failure=on_failure,
        )

    def _forward(self, event: RecordedEvent) -> None:
        body = cloud_event(event, self._source)
        stamp = str(int(self._clock_s()))
        headers = {
            **self._headers,
            "content-type": "application/cloudevents+json; charset=UTF-8",
            "webhook-id": str(event.id),
            "webhook-timestamp": stamp,
        }
        if self._secret is not None:
            headers["webhook-signature"] = signature(self._secret, str(event.id), stamp, body)
        self._post(headers, body)


def signature(secret: bytes, id: str, stamp: str, body: bytes) -> str:
    """The value of `webhook-signature`; the receiver computes the same and compares."""
    digest = hmac.digest(secret, f"{id}.{stamp}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"


def cloud_event(event: RecordedEvent, source: str) -> bytes:
    """The event as a CloudEvent, with position, stream version and tags as extension attributes."""
    facts: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(event.id),
        "source": source,
        "type": event.type,
        "time": event.timestamp,
        "datacontenttype": "application/json",
        "position": str(event.position),
    }
    if event.stream is not None:
        facts |= {"subject": event.stream, "streamversion": event.version}
    if event.tags:
        facts["tags"] = ",".join(sorted(event.tags))
    for name in ("correlation_id", "causation_id"):
        if isinstance(event.metadata.get(name), str):
            facts[name.replace("_", "")] = event.metadata[name]
    return msgspec.json.encode({**facts, "data": msgspec.Raw(event.data_json)})


def _poster(url: str, timeout_s: float) -> Callable[[Mapping[str, str], bytes], None]:
    """What sends one request and raises unless it was accepted."""
    if not isinstance(url, str):
        raise InvalidType("url", url, "expected a URL")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
        raise InvalidInput("url", url, "expected http://… or https://…")
    connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def post(headers: Mapping[str, str], body: bytes) -> None:
        connection = connect(str(parts.hostname), parts.port, timeout=timeout_s)
        try:
            connection.request("POST", path, body, dict(headers))
            status = connection.getresponse().status
        except (OSError, HTTPException) as error:
            raise WebhookRefused(place, None, f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()
        if not 200 <= status < 300:
            raise WebhookRefused(place, status, f"answered {status}")

    return post


def _checked_secret(secret: str | bytes | None) -> bytes | None:
    if secret is None:
        return None
    if not isinstance(secret, str | bytes):
        raise InvalidType("secret", "…", "expected text or bytes")
    key = secret.encode() if isinstance(secret, str) else secret
    if len(key) < WEBHOOK_SECRET_BYTES_MIN:
        raise InvalidInput("secret", "…", f"expected at least {WEBHOOK_SECRET_BYTES_MIN} bytes")
    return key


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str) or not f"{name}{value}".isprintable():
            raise InvalidInput("headers", name, "expected names and values of printable text")
        if name.lower() in _OWN_HEADERS:
            raise InvalidInput("headers", name, "it is set by the webhook itself")
    return dict(headers)
