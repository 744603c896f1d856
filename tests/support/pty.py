"""Runs a program on a terminal of its own, for pty.ts.

    pty.py ROWS COLUMNS PROGRAM [ARGUMENT...]

stdout: the program's pid on a line, then what the terminal shows, byte by byte.
stdin: one request on each line, `write HEX`, `resize ROWS COLUMNS` or `hangup`; its end hangs up too.
stderr: the terminal's modes when the program has ended, unless it was hung up by then.
Ends as the program ends, by the same signal if by one.
"""

import os
import select
import signal
import sys
import termios

# How long the last output of a program may be on its way after its end, in s.
LAST_WORDS = 0.2


def main():
    rows, columns = int(sys.argv[1]), int(sys.argv[2])
    # The child leads a session of its own, and the terminal controls it. Its exec closes the pipe: a
    # Ctrl-C that came before there is a foreground would reach nobody.
    started, starting = os.pipe()
    pid, terminal = os.forkpty()
    if pid == 0:
        termios.tcsetwinsize(0, (rows, columns))
        # An exec hands on what is ignored: SIGPIPE by Python, SIGINT by a shell for what it runs
        # in the background, where the tests may be.
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
        try:
            os.execvp(sys.argv[3], sys.argv[3:])
        except OSError as error:
            print(f"{sys.argv[3]}: {error.strerror}", file=sys.stderr)
            os._exit(127)
    os.close(starting)
    os.read(started, 1)
    os.close(started)
    os.write(1, b"%d\n" % pid)
    serve(pid, terminal)


def serve(pid, terminal):
    # Readable once the program has ended. The end of the terminal's output is no sign of it: a
    # process left behind may hold the terminal.
    ended = os.pidfd_open(pid)
    requests = b""
    sources = [0, terminal, ended]
    while True:
        ready = select.select(sources, [], [])[0]
        if terminal in ready:
            shown = read(terminal)
            os.write(1, shown)
            if not shown:
                sources.remove(terminal)
        elif ended in ready:
            # The kernel hands over what was written last a moment later (tty_flip_buffer_push()). With its
            # end the terminal is readable too, unless a process left behind holds it.
            if terminal in sources and select.select([terminal], [], [], LAST_WORDS)[0]:
                continue
            if 0 in sources:
                print(termios.tcgetattr(terminal)[:4], file=sys.stderr, flush=True)
            end_like(os.waitpid(pid, 0)[1])
        elif 0 in ready:
            received = os.read(0, 65536)
            *lines, requests = (requests + received).split(b"\n")
            for line in lines + ([] if received else [b"hangup"]):
                hung_up = not act(line.split(), terminal)
                if hung_up:
                    os.close(terminal)
                    sources = [ended]
                    break


def act(words, terminal):
    if words[0] == b"write":
        data = bytes.fromhex(words[1].decode())
        while data:
            data = data[os.write(terminal, data):]
    elif words[0] == b"resize":
        termios.tcsetwinsize(terminal, (int(words[1]), int(words[2])))
    return words[0] != b"hangup"


def read(terminal):
    try:
        return os.read(terminal, 65536)
    except OSError:
        # EIO: nobody holds the other side any more.
        return b""


def end_like(status):
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


main()
