"""Runs a program as a child that dies with its parent: `python launch.py PARENT_PID (-m MODULE | EXECUTABLE) ARG...`

A script and not a module of the package: it costs the child no import. On Linux the kernel kills the child when the
parent is gone, even by kill -9 (prctl(2), PR_SET_PDEATHSIG; kept across execve). Elsewhere this is plain exec.
"""

import ctypes
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Asks the kernel to kill this process with its parent; exits when the parent is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit("the parent is gone")


if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    if sys.argv[2] == "-m":
        module = sys.argv[3]
        sys.argv[:] = [module, *sys.argv[4:]]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606
