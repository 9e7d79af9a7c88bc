"""Become a supervised child process, then exec its program: `python -I -S child.py SPEC PROGRAM ARGUMENT…`.

A program of its own and not a preexec_fn, which may deadlock in a parent that has threads. SPEC is JSON:
parent: the pid that must be alive, and after whose death this process gets the signal `farewell`;
uid, gid: whom to become, when given; pass_permissions: keep CAP_DAC_OVERRIDE while becoming them, so that
the program can reach files below folders that are closed to its user.
"""

import ctypes
import json
import os
import signal
import sys
from typing import NamedTuple

# linux/prctl.h, linux/securebits.h and linux/capability.h
PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 4
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


class Account(NamedTuple):
    """The user that a child becomes."""

    uid: int
    gid: int
    pass_permissions: bool


def command_line(program: list[str], account: Account | None, farewell: int) -> list[str]:
    """What to run for `program` (its first word an absolute path) to be a child of this process."""
    spec = {"parent": os.getpid(), "farewell": farewell} | (account._asdict() if account else {})
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), json.dumps(spec), *program]


def call(libc: ctypes.CDLL, function: str, *arguments: object) -> None:
    """Call a C function that gives -1 on failure; raises OSError then."""
    if getattr(libc, function)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), f"{function}{arguments}: {os.strerror(ctypes.get_errno())}")


def become(uid: int, gid: int, pass_permissions: bool) -> None:
    """Change user; OSError when this process may not."""
    libc = ctypes.CDLL(None, use_errno=True)
    if pass_permissions:
        # Otherwise setresuid() would drop all capabilities, and access(2), with which initdb looks for its
        # programs, would not count them.
        call(libc, "prctl", PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if pass_permissions:
        bit = 1 << CAP_DAC_OVERRIDE
        header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
        sets = (ctypes.c_uint32 * 6)(
            bit, bit, bit, 0, 0, 0
        )  # effective, permitted, inheritable; the high words
        call(libc, "capset", header, sets)
        call(libc, "prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


def end_with(parent: int, farewell: int) -> None:
    """Get the signal when the parent dies (Linux only). After become(), which would clear it."""
    if sys.platform == "linux":
        call(ctypes.CDLL(None, use_errno=True), "prctl", PR_SET_PDEATHSIG, farewell, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent process has gone")


def main() -> None:
    spec = json.loads(sys.argv[1])
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if "uid" in spec:
        become(spec["uid"], spec["gid"], spec["pass_permissions"])
    end_with(spec["parent"], spec["farewell"])
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
