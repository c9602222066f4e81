"""Answers every question in this folder and prints the tables: `python benchmarks/run.py [--size 1000000] [QUESTION …]`."""

import argparse
import platform
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import batches
import cluster
import concurrent_appends
import conditions
import deciding
import large_store
import memory_engine
import postgres
import reacting
import reads
import results
import server
import single_append

QUESTIONS = {
    "single_append": single_append,
    "concurrent_appends": concurrent_appends,
    "batches": batches,
    "reads": reads,
    "conditions": conditions,
    "memory_engine": memory_engine,
    "reacting": reacting,
    "postgres": postgres,
    "server": server,
    "deciding": deciding,
    "cluster": cluster,
}
NEED_LARGE = {"reads", "conditions"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("questions", nargs="*", choices=[[], *QUESTIONS], metavar="QUESTION", help=", ".join(QUESTIONS))
    parser.add_argument("--size", type=int, default=1_000_000, help="events in the large store; 10000000 takes some minutes")
    parser.add_argument("--folder", help="measure the disk of this folder")
    options = parser.parse_args()
    asked = options.questions or list(QUESTIONS)
    print(
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.system()} {platform.release()}, "
        f"{time.strftime('%Y-%m-%d')}, `python benchmarks/run.py {' '.join(sys.argv[1:])}`\n"
    )
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        folder = Path(place)
        if NEED_LARGE & set(asked):
            large_store.make(folder / "large.db", options.size)
        for name in asked:
            question = QUESTIONS[name]
            print(results.markdown((question.__doc__ or "").strip(), question.measure(folder, options.size)), flush=True)


if __name__ == "__main__":
    main()
