"""Run the corpus of notebooks on a plain ipykernel and on this kernel, and compare all they show.

    python benchmarks/fidelity/run.py                  every notebook
    python benchmarks/fidelity/run.py errors pandas    some of them
    python benchmarks/fidelity/run.py --light          those that need no package but ipykernel's own

The notebooks draw with pandas, seaborn, plotly and others (``requirements.txt``), so they get an
environment of their own in ``build/fidelity``, unless ``--python`` names one that has it all.
This file needs the standard library only; ``corpus.py`` does the work, in that environment.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "fidelity"


def main() -> None:
    """Find or make the environment and go on in it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("names", nargs="*", help="notebooks, by name; none: all")
    add("--python", help="interpreter with the packages; none: one is made in build/fidelity")
    add("--light", action="store_true", help="only notebooks that need nothing but ipykernel")
    add("--cluster", action="store_true", help="on the cluster that BACKEND_ENDPOINT names")
    add("--image", default="python", help="image of the session")
    add("--control", action="store_true", help="compare the plain kernel with itself")
    add("--json", type=Path, default=BUILD / "report.json", help="where the report is written")
    options = parser.parse_args()
    python = options.python or environment()
    if python != sys.executable:
        words = [str(Path(__file__).resolve()), *sys.argv[1:], "--python", python]
        raise SystemExit(subprocess.call([python, *words]))
    sys.path[:0] = [str(HERE), str(ROOT), str(ROOT / "magics")]
    os.environ["PYTHONHASHSEED"] = "0"

    from corpus import main as compare

    raise SystemExit(compare(options))


def environment() -> str:
    """Return the interpreter of the corpus's own environment, which is made when it is not there."""
    folder, wanted = BUILD / "venv", HERE / "requirements.txt"
    python, done = folder / "bin" / "python", folder / ".ready"
    if done.exists() and done.stat().st_mtime > wanted.stat().st_mtime:
        return str(python)
    print(f"An environment with the packages of {wanted.name} is made in {folder}.", flush=True)
    venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, f"{ROOT}[local]", "-r", str(wanted)], check=True)
    done.touch()
    return str(python)


if __name__ == "__main__":
    main()
