"""The checksum of an event: finds bits that have changed on the disk, which JSON and indexes alone would not show.

CRC-32 as in zlib (RFC 1952) over everything that a reader gets. Part of the file format.
"""

from zlib import crc32

from hansard.events import RecordedEvent


def checksum(
    position: int,
    stream: str | None,
    version: int | None,
    type: str,
    timestamp_us: int,
    id_bytes: bytes,
    tags_json: str | None,
    metadata_json: bytes,
    data_json: bytes,
) -> int:
    """Parameters as the fields of RecordedEvent."""
    facts = f"{position} {version} {timestamp_us} {type}\0{stream}\0{tags_json}".encode()
    return crc32(data_json, crc32(metadata_json, crc32(facts, crc32(id_bytes))))


def checksum_of(event: RecordedEvent) -> int:
    return checksum(
        event.position,
        event.stream,
        event.version,
        event.type,
        event.timestamp_us,
        event.id_bytes,
        event.tags_json,
        event.metadata_json,
        event.data_json,
    )
