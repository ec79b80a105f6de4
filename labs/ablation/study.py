"""The rows of the table, and what is measured for each: several runs that differ in the seed and in nothing else."""
from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Callable

from labs.ablation.baselines import WindowMLP, best_back_off, counted, even_guess
from labs.ablation.kept import WHOLE
from labs.ablation.training import PartialGPT, Setting, measure, prepare, train

PARTS = {  # the row: (the matrices that are held at 0, the number of layers)
    "token alone": (("wpe", "attn_wo", "mlp_fc2"), 1),
    "+ position": (("attn_wo", "mlp_fc2"), 1),
    "+ MLP, no attention": (("attn_wo",), 1),
    "+ attention, no MLP": (("mlp_fc2",), 1),
    WHOLE: ((), 1),
    "two layers": ((), 2),
}
FEEDS = {"attn_wo": ("attn_wq", "attn_wk", "attn_wv"), "mlp_fc2": ("mlp_fc1",)}  # what works through a matrix alone
WINDOWS = {"names": (3, 5), "repeat": (5,), "dial": (11,), "sums": (5,)}  # how many letters the WindowMLPs see


@dataclass(frozen=True)
class Study:
    """One table: a setting, the number of seeds, 42 and those after it, and the rows of PARTS."""

    setting: Setting
    seeds: int = 10
    rows: tuple[str, ...] = tuple(PARTS)


STUDIES = {  # the tables that are kept
    "names": Study(Setting()),
    "names, 10,000 steps": Study(Setting(steps=10000), seeds=5),
    "names, 32 a step": Study(Setting(steps=3000, batch=32), seeds=3),
    # Of weight decays 0.1, 0.3 and 1.0 that were tried, 0.3 gave the lowest loss on the held-out names.
    "names, larger": Study(Setting(steps=10000, batch=32, n_layer=2, n_embd=64, weight_decay=0.3), seeds=3,
                           rows=("+ MLP, no attention", WHOLE)),
    "repeat": Study(Setting("repeat", n_head=1)),
    "dial, 1,000 steps": Study(Setting("dial", n_head=1)),
    "dial": Study(Setting("dial", steps=1500, n_head=1)),
    "sums": Study(Setting("sums", steps=5000), seeds=5),
}


def rounded(number: float) -> float:
    return round(number, 5)


def measure_parts(name: str, setting: Setting, seed: int) -> dict:
    """One row, one seed: the parameters that are trained, and the figures on held-out documents (and, where characters
    can be known for certain, the shares that are right on up to 1,000 documents that were shown)."""
    off, layers = PARTS[name]
    setting = replace(setting, n_layer=layers * setting.n_layer)
    run = prepare(setting, seed)
    model = PartialGPT(setting.config(seed), run, off)
    train(model, run.encode(run.shown), setting)
    idle = {*off, *(fed for matrix in off for fed in FEEDS.get(matrix, ()))}
    parameters = sum(weight.size for name, weight in model.parameters.items() if name.split(".")[-1] not in idle)
    return {"parameters": parameters, **figures(model, run, setting)}


def figures(model, run, setting: Setting) -> dict:
    """What `measure` finds on the held-out documents and, where it tells right from wrong, on those that were shown."""
    found = {key: rounded(value) for key, value in measure(model, run, run.held_out).items()}
    if "right" in found:
        read = run.shown[: setting.steps * setting.batch][:1000]
        found.update({f"{key}, shown": rounded(value) for key, value in measure(model, run, read).items()})
    return found


def measure_baselines(setting: Setting, seed: int) -> dict[str, dict]:
    """The rows without a transformer, from the documents that a run with this seed reads."""
    run = prepare(setting, seed)
    shown, held_out = run.encode(run.shown[: setting.steps * setting.batch]), run.encode(run.held_out)
    size = run.tokenizer.vocab_size
    loss, order, strength = best_back_off(shown, held_out, size)
    rows = {
        "even guess": {"loss": rounded(even_guess(size))},
        "letter counts": {"loss": rounded(counted(shown, held_out, 0, size))},
        "pair counts": {"loss": rounded(counted(shown, held_out, 1, size))},
        "best n-gram": {"loss": rounded(loss), "letters": order, "strength": strength},
    }
    for width in WINDOWS.get(setting.source, (3, 5)):
        model = WindowMLP(setting.config(seed), run, width)
        train(model, run.encode(run.shown), setting)
        rows[f"MLP on the last {width}"] = {"parameters": model.flat.size, **figures(model, run, setting)}
    return rows


def measure_study(study: Study, say: Callable[[str], None] = lambda line: None) -> dict:
    """The study as plain data: its setting, its seeds, and for each row the figures as lists, a number for each seed;
    what is the same for all seeds (the parameters) is one number. `say` hears how far it is."""
    setting, seeds = study.setting, [42 + i for i in range(study.seeds)]
    rows: dict[str, list[dict]] = {}
    for seed in seeds:
        for name, found in measure_baselines(setting, seed).items():
            rows.setdefault(name, []).append(found)
        for name in study.rows:
            rows.setdefault(name, []).append(measure_parts(name, setting, seed))
            say(f"seed {seed}, {name}: held-out loss {rows[name][-1]['loss']:.3f}")
    run = prepare(setting, seeds[0])
    return {"setting": asdict(setting), "seeds": seeds, "shown": len(run.shown), "held out": len(run.held_out),
            "rows": {name: columns(found) for name, found in rows.items()}}


def columns(found: list[dict]) -> dict:
    """[{figure: number}, ...], one for each seed -> {figure: [number, ...]}; the parameters are the same for all."""
    common = [key for key in found[0] if all(key in each for each in found)]  # what is known for certain may differ
    return {key: found[0][key] if key == "parameters" else [each[key] for each in found] for key in common}
