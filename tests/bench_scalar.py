"""How fast are the three scripts? Each against the textbook form (tests/textbook_gpt.py), on the same steps in one run.

    python3 tests/bench_scalar.py [NAMES] [--steps N] [--rounds N]

Every round runs all four programs, one after the other, each in a process of its own, so that a machine that slows
down slows all of them. What is timed is the processor time of whole training steps: that of a run of N steps less that
of a run of none (which reads the data and draws the weights), divided by N. The table gives the median over the rounds,
and for the ratio the median, lowest and highest of the rounds' own ratios. Memory is the peak of the process. Before
anything is timed, the losses of the steps are checked to be the same in all four.

The textbook form computes the same losses with a node for each + and *, and a depth-first sort before each backward.
"""
import argparse
import os
import platform
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAMS = ("textbook form", "script_gpt.py", "script_gpt_refactored.py", "script_gpt_educational.py")


def command(program, names, steps):
    """What to run for that many steps and no samples."""
    if program == "textbook form":
        return [sys.executable, os.path.join(ROOT, "tests", "textbook_gpt.py"), names, str(steps), "0"]
    return [sys.executable, os.path.join(ROOT, program), names, "--steps", str(steps), "--samples", "0"]


def measure(arguments):
    """Processor seconds, peak memory in MB, and the losses that a run prints."""
    # The child is run by a small parent of its own, whose only child it is, so that its peak memory can be told apart.
    code = ("import resource, subprocess, sys\n"
            "out = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, check=True).stdout\n"
            "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
            "print(used.ru_utime + used.ru_stime, used.ru_maxrss)\n"
            "sys.stdout.flush(); sys.stdout.buffer.write(out)")
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    process = subprocess.run([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, check=True,
                             env=environment, encoding="utf-8")
    lines = process.stdout.splitlines()
    seconds, peak = map(float, lines[0].split())
    megabytes = peak / (2**20 if sys.platform == "darwin" else 2**10)  # macOS counts bytes, Linux kilobytes
    return seconds, megabytes, [line.split("loss ")[1] for line in lines[1:] if line.startswith(("step ", "loss "))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="?", metavar="NAMES", default=os.path.join(ROOT, "names.txt"))
    parser.add_argument("--steps", type=int, default=30, help="steps of the textbook form (default: 30)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default: 5)")
    args = parser.parse_args()
    losses = [measure(command(program, args.names, args.steps))[2] for program in PROGRAMS]
    if any(other != losses[0] for other in losses):
        sys.exit("the four programs do not print the same losses: there is nothing to compare")
    times = {program: [] for program in PROGRAMS}
    peaks = dict.fromkeys(PROGRAMS, 0.0)
    for _ in range(args.rounds):
        for program in PROGRAMS:
            repeats = 1 if program == "textbook form" else 5  # the fast ones several times, to be measured as well
            seconds = 0.0
            for _ in range(repeats):
                busy, peak, _ = measure(command(program, args.names, args.steps))
                idle, _, _ = measure(command(program, args.names, 0))
                seconds += busy - idle
                peaks[program] = max(peaks[program], peak)
            times[program].append(seconds / repeats / args.steps)
    print(f"{platform.python_implementation()} {platform.python_version()}, {args.rounds} rounds, "
          f"losses of {args.steps} steps identical")
    print(f"{'':<28}{'ms a step':>10}{'times as fast':>16}{'(lowest, highest)':>20}{'peak MB':>9}")
    for program in PROGRAMS:
        ratios = [slow / fast for slow, fast in zip(times["textbook form"], times[program])]
        print(f"{program:<28}{1000 * statistics.median(times[program]):>10.2f}{statistics.median(ratios):>16.1f}"
              f"{f'({min(ratios):.1f}, {max(ratios):.1f})':>20}{peaks[program]:>9.1f}")


if __name__ == "__main__":
    main()
