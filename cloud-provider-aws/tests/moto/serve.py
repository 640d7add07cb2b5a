"""Runs moto on a port of loopback until standard input closes, so that it never outlives who started it.

`cargo xtask test moto` starts it, and runs the tests of `tests/conformance` whose names contain `moto`, with its URL
in `MOTO_URL`.
"""

import os
import sys
import threading

from moto.server import main


def end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


threading.Thread(target=end_with_input, daemon=True).start()
main(["--host", "127.0.0.1", "--port", sys.argv[1]])
