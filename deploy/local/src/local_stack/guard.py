"""Becomes another program that ends when its parent does, whatever ended the parent.

Run as a script, with no package around it: `guard.py PARENT_PID SIGNAL USER_ID GROUP_ID PROGRAM [ARGUMENT…]`;
a USER_ID of -1 keeps the user. A supervisor that gets SIGKILL can stop nothing, so the kernel does it.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    parent, death_signal, user, group = (int(argument) for argument in arguments[:4])
    program = arguments[4:]
    if user >= 0:
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
    # After the change of user: that change would clear it.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit(1)  # The parent ended before the kernel was told about it.
    # The interpreter ignores these two, and an ignored signal stays ignored in the program it becomes.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    os.execvp(program[0], program)  # noqa: S606  # an argument list, no shell


if __name__ == "__main__":
    main(sys.argv[1:])
