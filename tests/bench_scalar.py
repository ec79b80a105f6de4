"""How fast are the three scripts? Each against the textbook form (tests/textbook_gpt.py), on the same steps in one run.

    python3 tests/bench_scalar.py [NAMES] [--steps N] [--rounds N] [--keep FILE]

Every round runs all programs, one after the other, each in a process of its own, so that a machine that slows down
slows all of them. What is timed is the processor time of whole training steps: that of a run of N steps less that of a
run of none (which reads the data and draws the weights), divided by N. The table gives the median over the rounds, and
for the ratio the median, lowest and highest of the rounds' own ratios. Memory is the peak of the process. Before
anything is timed, the losses of the steps are checked to be the same in all of them. --keep writes what was measured,
round by round, into a file of measurements (tests/bench_scalar.json, of which the table in README.md is made), and
prints that table.

The textbook form computes the same losses with a node for each + and *, and a depth-first sort before each backward.
The floor is not a program: it does the products of the same steps on the objects of script_gpt.py and nothing else (the
sums of products of the forward pass, the products of the backward pass, Adam's update). No program whose numbers are
separate objects can be faster than that.
"""
import argparse
import importlib
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAMS = ("textbook form", "script_gpt.py", "script_gpt_refactored.py", "script_gpt_educational.py")
FLOOR = "the products and Adam alone"


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


def floor(names, steps):
    """Milliseconds a step of the products and Adam alone, in this process."""
    sys.path.insert(0, ROOT)
    gpt = importlib.import_module("script_gpt")
    config = argparse.Namespace(n_layer=1, n_embd=16, n_head=4, block_size=16, weight_std=0.08)
    docs = gpt.load_dataset(names)
    rng = random.Random(42)
    rng.shuffle(docs)
    vocabulary = sorted(set("".join(docs)))
    bos = len(vocabulary)
    state_dict = gpt.initialize_parameters(config, bos + 1, rng)
    parameters = [weight for matrix in state_dict.values() for row in matrix for weight in row]
    m, v = [0.0] * len(parameters), [0.0] * len(parameters)
    sumprod, sqrt, seconds = gpt.sumprod, gpt.math.sqrt, 0.0
    for doc in docs[:steps]:
        gpt.compute_loss([bos, *map(vocabulary.index, doc), bos], state_dict, config)
        nodes = gpt.Value.tape[::-1]
        products = [(node.local_grads[len(node.children) // 2:], node.local_grads[:len(node.children) // 2])
                    for node in nodes if len(node.children) > 3 and len(node.children) % 2 == 0]
        gpt.Value.tape.clear()
        started = time.process_time()
        for left, right in products:
            sumprod(left, right)
        for node in nodes:
            grad = node.grad
            for child, local_grad in zip(node.children, node.local_grads):
                child.grad += local_grad * grad
        for i, parameter in enumerate(parameters):
            grad = parameter.grad
            m[i] = 0.85 * m[i] + 0.15 * grad
            v[i] = 0.99 * v[i] + 0.01 * grad * grad
            parameter.data -= 1e-9 * m[i] / (sqrt(v[i]) + 1e-8)
            parameter.grad = 0.0
        seconds += time.process_time() - started
    return 1000 * seconds / min(steps, len(docs))


def rounds_of(names, steps, rounds):
    """What was measured: program -> milliseconds a step in each round, and program -> peak MB."""
    milliseconds, peaks = {program: [] for program in (*PROGRAMS, FLOOR)}, dict.fromkeys(PROGRAMS, 0.0)
    for _ in range(rounds):
        for program in PROGRAMS:
            repeats = 1 if program == "textbook form" else 5  # the fast ones several times, to be measured as well
            seconds = 0.0
            for _ in range(repeats):
                busy, peak, _ = measure(command(program, names, steps))
                idle, _, _ = measure(command(program, names, 0))
                seconds += busy - idle
                peaks[program] = max(peaks[program], peak)
            milliseconds[program].append(1000 * seconds / repeats / steps)
        own = [sys.executable, os.path.abspath(__file__), names, "--steps", str(5 * steps), "--floor"]
        milliseconds[FLOOR].append(float(subprocess.run(own, stdout=subprocess.PIPE, check=True).stdout))
    return milliseconds, peaks


def rows(measured):
    """The table of what was measured: program, ms a step, how many times as fast (median, lowest, highest), peak MB."""
    table = []
    for program, own in measured["milliseconds"].items():
        ratios = [slow / fast for slow, fast in zip(measured["milliseconds"]["textbook form"], own)]
        figures = statistics.median(own), statistics.median(ratios), min(ratios), max(ratios)
        peak = f"{measured['peaks'][program]:.0f}" if program in measured["peaks"] else ""
        table.append((program, *(f"{figure:.1f}" for figure in figures), peak))
    return table


def readme_table(kept):
    """The table in README.md, line by line, of all measurements of a file: a row for each Python."""
    lines = ["| ms a step, and times as fast (lowest, highest) | " + " | ".join(
        f"`{program}`" if program.endswith(".py") else program for program in (*PROGRAMS, FLOOR)) + " |",
        "|" + "---|" * (len(PROGRAMS) + 2)]
    for python, measured in kept.items():
        cells = [f"{own}" if program == PROGRAMS[0] else f"{own}: {ratio} ({lowest}, {highest})"
                 for program, own, ratio, lowest, highest, _ in rows(measured)]
        lines.append(f"| {python} | " + " | ".join(cells) + " |")
    return lines


def keep(path, measured):
    """Adds a measurement to the file, in place of an earlier one on the same Python."""
    kept = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            kept = json.load(file)
    kept[measured["python"]] = measured
    by_version = sorted(kept.items(), key=lambda item: [int(part) for part in item[0].split()[1].split(".")])
    with open(path, "w", encoding="utf-8") as file:
        json.dump(dict(by_version), file, indent=1)
        file.write("\n")
    print("\n".join(readme_table(dict(by_version))))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="?", metavar="NAMES", default=os.path.join(ROOT, "names.txt"))
    parser.add_argument("--steps", type=int, default=30, help="steps of the textbook form (default: 30)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument("--keep", metavar="FILE", help="add what was measured to this file")
    parser.add_argument("--floor", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if min(args.steps, args.rounds) < 1:
        parser.error("--steps and --rounds must be at least 1")
    if args.floor:
        print(floor(args.names, args.steps))
        return
    losses = [measure(command(program, args.names, args.steps))[2] for program in PROGRAMS]
    if any(other != losses[0] for other in losses):
        sys.exit("the programs do not print the same losses: there is nothing to compare")
    milliseconds, peaks = rounds_of(args.names, args.steps, args.rounds)
    measured = {"python": f"{platform.python_implementation()} {platform.python_version()}", "steps": args.steps,
                "milliseconds": {program: [round(ms, 4) for ms in own] for program, own in milliseconds.items()},
                "peaks": {program: round(peak, 1) for program, peak in peaks.items()}}
    print(f"{measured['python']}, {args.rounds} rounds, losses of {args.steps} steps identical")
    print(f"{'':<28}{'ms a step':>10}{'times as fast':>16}{'(lowest, highest)':>20}{'peak MB':>9}")
    for program, own, ratio, lowest, highest, peak in rows(measured):
        print(f"{program:<28}{own:>10}{ratio:>16}{f'({lowest}, {highest})':>20}{peak:>9}")
    if args.keep:
        keep(args.keep, measured)


if __name__ == "__main__":
    main()
