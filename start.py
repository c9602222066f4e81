"""Runs Hansard from a fresh clone, with nothing but Python, pip and git on the machine.

    python3 start.py demo      store this repository's history, read it back, react to it
    python3 start.py test      run all tests
    python3 start.py shop      open the shop of examples/shop, in a browser
    python3 start.py …         anything else is the command `hansard …`

Makes an environment of its own in .hansard-env, once, and again when pyproject.toml has changed.
"""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOME = HERE / ".hansard-env"
PYTHON = HOME / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = HOME / "installed-for"


def main() -> int:
    arguments = sys.argv[1:] or ["--help"]
    if arguments[0] == "test":
        prepare("test")
        return run("-m", "pytest", *(arguments[1:] or ["-q", "-n", "3", "--dist", "worksteal"]))
    prepare("")
    if arguments[0] == "shop":
        return run("-m", "shop.web", *arguments[1:], path=HERE / "examples" / "shop")
    if arguments == ["demo"]:
        arguments += ["--repository", str(HERE)]
    return run("-m", "hansard", *arguments)


def prepare(extra: str) -> None:
    """Install what is needed, unless it is there."""
    wanted = f"{hashlib.sha256((HERE / 'pyproject.toml').read_bytes()).hexdigest()} {sys.version} {HERE}"
    installed = STAMP.read_text().splitlines() if STAMP.exists() else []
    if installed[:1] == [wanted] and (not extra or extra in installed[1:]):
        return
    print("Preparing an environment in .hansard-env (once) …", file=sys.stderr, flush=True)
    # Without pip inside: the machine's own pip installs into it, so the venv module needs no ensurepip.
    venv.create(HOME, clear=installed[:1] != [wanted], with_pip=False)
    package = f"{HERE}[{extra}]" if extra else str(HERE)
    pip = [sys.executable, "-m", "pip", "--python", str(PYTHON), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--editable", package], check=True)
    extras = {*installed[1:], extra} if installed[:1] == [wanted] else {extra}
    STAMP.write_text("\n".join([wanted, *sorted(extras - {""})]))


def run(*arguments: str, path: Path | None = None) -> int:
    environment = {**os.environ, "HANSARD_PROGRAM": f"python3 {sys.argv[0]}"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    folder = HERE if arguments[1] == "pytest" else None
    return subprocess.run([str(PYTHON), *arguments], cwd=folder, env=environment, check=False).returncode


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        print(f"Could not prepare the environment: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
