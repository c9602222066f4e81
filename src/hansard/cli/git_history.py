"""A git repository's history as events: one append a commit, one event for each file that the commit touched."""

import subprocess
from pathlib import Path
from uuid import UUID, uuid5

from hansard.appends import StreamAppend
from hansard.errors import InvalidInput, OpenFailed
from hansard.events import Event
from hansard.limits import NAME_CHARS_MAX

_IDS = UUID("6e1d1a52-6a36-5a0c-9f3e-0f6f3b0d7c11")
"""Name space of the ids: the same commit and file give the same id, so that a second run stores nothing twice."""

_COMMIT = "\x01"
_FORMAT = f"{_COMMIT}%H%x00%aI%x00%an%x00%s"
_TYPES = {"A": "file-added", "M": "file-changed", "D": "file-deleted", "T": "file-changed"}


def commits(repository: Path) -> list[list[StreamAppend]]:
    """The appends of the commits that touched a file, oldest first."""
    command = ["git", "-C", str(repository), "log", "--reverse", "--no-renames", "--root", "-m", "--first-parent"]
    command += ["--name-status", "-z", f"--format={_FORMAT}"]
    try:
        ran = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise OpenFailed("git is not installed; give a log as a file instead") from None
    if ran.returncode:
        raise InvalidInput("repository", str(repository), ran.stderr.decode(errors="replace").strip())
    texts = ran.stdout.decode(errors="replace").split(_COMMIT)[1:]
    return [appends for text in texts if (appends := _appends(text))]


def _appends(commit: str) -> list[StreamAppend]:
    sha, time, author, subject, *touched = commit.replace("\n", "\0").split("\0")
    metadata = {"time": time, "commit": sha}
    fields = [field for field in touched if field]
    appends = []
    for status, path in zip(fields[::2], fields[1::2], strict=False):
        data = {"path": path, "subject": subject, "author": author}
        event = Event(_TYPES.get(status, "file-changed"), data, metadata, {f"commit:{sha}"}, uuid5(_IDS, f"{sha}\0{path}"))
        appends.append(StreamAppend(f"file-{path}"[:NAME_CHARS_MAX], [event]))
    return appends
