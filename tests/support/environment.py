"""Where things are: the cache folder, the binary, and a virtual environment for packages from PyPI."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("LODESTONE_CACHE") or "~/.cache/lodestone").expanduser()


def binary():
    """The server's binary: $LODESTONE_BIN, or the release build where cargo put it."""
    named = os.environ.get("LODESTONE_BIN")
    if named:
        return Path(named).resolve()
    targets = [os.environ.get("CARGO_TARGET_DIR"), REPOSITORY / "target", CACHE / "target"]
    for target in targets:
        if target and (built := Path(target) / "release" / "lodestone").exists():
            return built.resolve()
    sys.exit("no lodestone binary: build it (cargo build --release) or set LODESTONE_BIN")


def with_packages(*requirements):
    """Continues this script in a virtual environment that has the packages, exact versions each.

    The environment lives in the cache folder and is made once; the script is started again in it.
    """
    home = CACHE / "venv"
    python = home / "bin" / "python"
    if Path(sys.prefix).resolve() != home.resolve():
        if not python.exists():
            home.parent.mkdir(parents=True, exist_ok=True)
            made = subprocess.run([sys.executable, "-m", "venv", str(home)])
            if made.returncode:
                sys.exit("python3 cannot make a virtual environment; on Debian: apt-get install python3-venv")
        os.execv(python, [str(python), *sys.argv])
    from importlib import metadata

    def present(requirement):
        name, version = requirement.split("==")
        try:
            return metadata.version(name) == version
        except metadata.PackageNotFoundError:
            return False

    missing = [requirement for requirement in requirements if not present(requirement)]
    if missing:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *missing]
        if subprocess.run(pip).returncode:
            sys.exit(f"pip could not install {' '.join(missing)}")
        os.execv(python, [str(python), *sys.argv])


def npm_package(name, version):
    """A folder in whose `node_modules` this package is, fetched into the cache once."""
    home = CACHE / "npm" / f"{name}-{version}"
    if not (home / "node_modules" / name / "package.json").exists():
        home.mkdir(parents=True, exist_ok=True)
        (home / "package.json").write_text('{"private": true}\n')
        npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(home), f"{name}@{version}"]
        if subprocess.run(npm).returncode:
            sys.exit(f"npm could not install {name}@{version}")
    return home
