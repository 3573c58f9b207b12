"""The first process of a container.

It lets a notebook run below it, with no more rights than in bubblewrap, and ends with it, or when
the time is over though nobody is left to end it.
"""

from __future__ import annotations

import os
import signal
import sys

from coursekit.grading.namespaces import hide, renounce


def main(seconds: int) -> None:
    """Run the job on standard input in a process of its own.

    Args:
        seconds: after which all of it ends.
    """
    os.chdir(os.environ["HOME"])
    renounce()
    hide(True)
    child = os.fork()
    if child == 0:
        hide(False)
        from coursekit.grading import inside  # starts threads, which a fork would lose

        inside.main()
    signal.signal(signal.SIGALRM, lambda *_: os._exit(128 + signal.SIGKILL))
    signal.alarm(seconds)
    for channel in (0, 1, 2):
        os.close(channel)  # who reads them waits for the notebook's end
    while True:
        found, status = os.wait()  # also what the notebook has left behind
        if found == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main(int(sys.argv[1]))
