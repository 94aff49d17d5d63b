"""Compile ``kernel.c`` to ``kernel.js``: ``python alexnet/bookkit/engine/build.py``.

``kernel.js`` is in the repository, so only a change of ``kernel.c`` takes this command, and
``pip install ziglang==0.17.1``, a C compiler in a wheel.
"""

import base64
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent
ZIG = "0.17.1"  # another version may give other bytes
FLAGS = ["-target", "wasm32-freestanding", "-mcpu=generic+simd128", "-O3", "-nostdlib"]
FLAGS += ["-Wl,--no-entry", "-Wl,--import-memory", "-Wl,--strip-all", "-Wl,-z,stack-size=0"]


def compile_kernel(source: Path) -> bytes:
    """The WebAssembly module that the compiler makes of a C file.

    Raises:
        subprocess.CalledProcessError: if it does not compile, or ziglang is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.wasm"
        command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, "-o", path, source]
        subprocess.run(command, check=True)
        return path.read_bytes()


def kernel_script(module: bytes) -> str:
    """The script that hands a module to ``alexnet.js``."""
    text = base64.b64encode(module).decode()
    return (
        "// Compiled from kernel.c by build.py: not edited by hand.\n"
        f'alexnet.receive("kernel", "{text}");\n'
    )


if __name__ == "__main__":
    script = kernel_script(compile_kernel(FOLDER / "kernel.c"))
    (FOLDER / "kernel.js").write_text(script, encoding="utf-8", newline="\n")
