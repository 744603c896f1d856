"""Starts a program so many times at the same moment, waits for all, and prints what it took as JSON.

    calls.py CALLS DEADLINE PROGRAM ARGUMENT...

As the reaper of all that these leave behind it knows their CPU time, unless they still run at the end.
"""

import ctypes, json, os, resource, signal, sys, tempfile, time

PR_SET_CHILD_SUBREAPER = 36

# A call with more open files than an ordinary one has starts no helper that might outlive it.
os.closerange(3, 4096)
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
calls, deadline, argv = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
said = tempfile.TemporaryFile("a+")
null = os.open(os.devnull, os.O_RDWR)
files = [(os.POSIX_SPAWN_DUP2, fd, to) for fd, to in ((null, 0), (null, 1), (said.fileno(), 2))]
# Python ignores these.
signals = [signal.SIGPIPE, signal.SIGXFSZ]


def end_all(*_):
    for pid in running:
        os.kill(pid, signal.SIGKILL)


running, failed = set(), 0
signal.signal(signal.SIGALRM, end_all)
signal.setitimer(signal.ITIMER_REAL, deadline)
start = time.monotonic()
for _ in range(calls):
    running.add(os.posix_spawn(argv[0], argv, os.environ, file_actions=files, setsigdef=signals))
while running:
    pid, status = os.waitpid(-1, 0)
    if pid in running:
        running.remove(pid)
        failed += status != 0
ms = (time.monotonic() - start) * 1000

try:
    while os.waitpid(-1, os.WNOHANG)[0] != 0:
        pass
    leaves = True
except ChildProcessError:
    leaves = False
used = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu = (used.ru_utime + used.ru_stime) * 1000
said.seek(0)
print(json.dumps(dict(ms=ms, cpu=cpu, failed=failed, leaves=leaves, said=said.read())))
