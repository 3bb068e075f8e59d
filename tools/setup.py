r"""Make .venv and install Easel into it; quick when nothing changed. Standard library only, any Python 3 may start it.

Usage: python tools/setup.py          (Windows: py tools\setup.py)
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
READY = VENV / ".ready"
OLDEST = (3, 11)
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_SECONDS = 3.0
GIB = 1024**3
NEEDS = {"cpu": 3 * GIB, "cuda": 9 * GIB}
"""Free disk space for an installation from nothing; PyTorch's CUDA wheels unpack to several times the CPU ones."""


def venv_python():
    """Return the path of the interpreter inside .venv."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def fail(sentence):
    """End with one plain sentence."""
    sys.exit("easel set-up: " + sentence)


def runs(python):
    """Return whether this interpreter starts and is new enough."""
    test = "import sys; sys.exit(sys.version_info < {})".format(OLDEST)
    try:
        return subprocess.run([str(python), "-c", test], capture_output=True).returncode == 0
    except OSError:
        return False


def newer_python():
    """Return another interpreter on the PATH that is new enough, or None."""
    for minor in (13, 12, 11, 14):
        found = shutil.which("python3.{}".format(minor))
        if found and runs(found):
            return found
    return None


def fingerprint():
    """Digest of everything that decides what is installed."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt", "tools/setup.py"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def has_nvidia():
    """Return whether an NVIDIA card answers on this machine."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    try:
        listed = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and "GPU" in listed.stdout


def cpu_index_answers():
    """Return whether PyTorch's CPU index answers in time; a name server that hangs counts as no answer."""
    answered = []

    def ask():
        request = urllib.request.Request(CPU_INDEX + "/torch/", method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=PROBE_SECONDS) as answer:
                answered.append(answer.status == 200)
        except OSError:
            pass

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return any(answered)


def make_venv():
    """Create .venv unless it is there and works."""
    if venv_python().exists() and runs(venv_python()):
        return
    print("easel set-up: making .venv with Python {}".format(platform.python_version()), flush=True)
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(VENV)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if made.returncode != 0:
        if "ensurepip" in made.stdout:
            fail(
                "this Python can't make virtual environments; install its venv package "
                "(Debian, Ubuntu: sudo apt install python3-venv) and try again."
            )
        fail("python -m venv .venv failed: " + made.stdout.strip())


def check_space(kind):
    """Say how much disk is missing before anything is downloaded."""
    if any(VENV.glob("**/site-packages/torch")):
        return
    free = shutil.disk_usage(str(ROOT)).free
    if free < NEEDS[kind]:
        fail(
            "{:.1f} GB of disk space are free in {}, {:.0f} GB are needed; free some and try again.".format(
                free / GIB, ROOT, NEEDS[kind] / GIB
            )
        )


def install(kind):
    """Let pip install Easel, what it needs and its developer tools, at the tested versions."""
    command = [str(venv_python()), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    command += ["-c", "constraints.txt", "-e", ".[dev]"]
    # Only Linux gets CUDA wheels by default; elsewhere what PyPI has is right already.
    if kind == "cpu" and sys.platform == "linux":
        if cpu_index_answers():
            command += ["--extra-index-url", CPU_INDEX]
        else:
            print("easel set-up: PyTorch's CPU index does not answer; taking what pip finds.", flush=True)
    if subprocess.run(command, cwd=str(ROOT)).returncode != 0:
        fail("pip could not install Easel; its last lines above say why. Mend that and try again.")


def main():
    """Set up, or return at once when .venv is as it should be."""
    if sys.version_info < OLDEST:
        other = newer_python()
        if other is None:
            fail(
                "Python {}.{} or newer is needed, this is {}; install it (python.org, or your system's packages) "
                "and try again.".format(OLDEST[0], OLDEST[1], platform.python_version())
            )
        sys.exit(subprocess.run([other, str(Path(__file__).resolve())]).returncode)
    wanted = fingerprint()
    if READY.exists() and READY.read_text(encoding="ascii").strip() == wanted and runs(venv_python()):
        READY.touch()
        return
    kind = "cuda" if has_nvidia() else "cpu"
    check_space(kind)
    make_venv()
    print("easel set-up: installing (the first time takes some minutes)", flush=True)
    install(kind)
    READY.write_text(wanted + "\n", encoding="ascii")
    print("easel set-up: ready.", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
