"""Starts one side's commands as a pipeline and says what they cost. Run alone: `python -I -S launch.py < spec`.

A program of its own because a child begins with the peak memory of whoever started it (Linux carries
`ru_maxrss` over exec), so the starter must be small: this one needs 10 MB.

    stdin   {"commands": [[argument, …], …], "log": path, "timeout_seconds": s}
    stdout  {"started", "ended" (monotonic seconds), "cpu_seconds", "peak_bytes": one a command, "codes", "output"}

cpu_seconds is user + system of every command and of the children it waited for; a peak is the largest
process of one command's tree.
"""

import json
import os
import signal
import subprocess
import sys
import time


def main() -> None:
    """Run the pipeline of the specification to its end."""
    spec = json.load(sys.stdin)
    processes: list[subprocess.Popen[bytes]] = []

    def kill_all(*_: object) -> None:
        for process in processes:
            process.kill()

    signal.signal(signal.SIGALRM, kill_all)
    signal.alarm(int(spec["timeout_seconds"]))
    started = time.monotonic()
    with open(spec["log"], "ab") as log, open(spec["log"] + ".out", "w+b") as output:
        source = subprocess.DEVNULL
        for position, command in enumerate(spec["commands"]):
            last = position == len(spec["commands"]) - 1
            target = output if last else subprocess.PIPE
            process = subprocess.Popen(command, stdin=source, stdout=target, stderr=log)
            if source != subprocess.DEVNULL:
                source.close()  # type: ignore[attr-defined]  # so that the earlier one notices a reader's end
            source = process.stdout  # type: ignore[assignment]
            processes.append(process)
        codes, cpu_seconds, peaks = [], 0.0, []
        for process in processes:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            codes.append(process.returncode)
            cpu_seconds += usage.ru_utime + usage.ru_stime
            peaks.append(usage.ru_maxrss * 1024)
        ended = time.monotonic()
        output.seek(0)
        said = output.read().decode()
    json.dump(
        {
            "started": started,
            "ended": ended,
            "cpu_seconds": cpu_seconds,
            "peak_bytes": peaks,
            "codes": codes,
            "output": said,
        },
        sys.stdout,
    )


main()
