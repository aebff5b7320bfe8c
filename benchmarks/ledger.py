"""The ledger of measured figures: one JSON file of rows per benchmark, and the tables made of them.

python -m benchmarks.ledger        # rewrites the tables in README.md and docs/ from results/*.json
"""

import json
import re
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MOVED = {
    "benchmarks.fuzz": "tests.hardening.fuzz",
    "benchmarks.crashtest": "tests.hardening.crashtest",
}  # since they were measured
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def row(name: str, values: list[float], unit: str, **more: Any) -> dict[str, Any]:
    """A figure with its spread. ``more``: baseline, ratio, target, better, seeds."""
    spread = {"std": stdev(values)} if len(values) > 1 else {}
    return {"name": name, "value": mean(values), "unit": unit, **spread, **more}


def write(
    name: str,
    rows: list[dict[str, Any]],
    origin: dict[str, Any],
    seconds: float,
    arguments: str = "",
    module: str | None = None,
) -> None:
    """Writes ``results/NAME.json``; every row carries where it comes from.

    ``arguments`` are those of ``python -m benchmarks.NAME``, without paths of this machine. ``module`` is the benchmark
    where it has another name, or the whole path of one that lies elsewhere.
    """
    RESULTS.mkdir(exist_ok=True)
    path = module or name
    command = f"python -m {path if '.' in path else f'benchmarks.{path}'} {arguments}".strip()
    full = [{**one, **origin, "command": command, "seconds": round(seconds, 1)} for one in rows]
    (RESULTS / f"{name}.json").write_text(json.dumps(full, indent=1) + "\n", encoding="utf-8")


def missed(rows: list[dict[str, Any]]) -> list[str]:
    """One line per row whose ``ratio``, or else ``value``, does not reach its target."""
    lines = []
    for one in rows:
        if "target" in one:
            reached = one.get("ratio", one["value"])
            good = reached >= one["target"] if one["better"] == "higher" else reached <= one["target"]
            if not good:
                lines.append(f"{one['name']}: {reached:.4g}, target {one['target']:.4g}")
    return lines


def table(name: str) -> str:
    """The rows of ``results/NAME.json`` as a Markdown table with its origin below.

    What a figure was meant to reach stays in the ledger: readers judge by the figure.
    """
    rows = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    lines = ["| figure | value |", "|---|---:|"]
    for one in rows:
        value = _number(one["value"], one["unit"])
        if "std" in one:
            value += f" ± {_number(one['std'], one['unit'])}"
        if "ci95" in one:
            value += f" (95 % interval ± {_number(one['ci95'], one['unit'])})"
        value += f" {one['unit']}"
        if "ratio" in one:
            value += f", ratio {one['ratio']:.2g}"
        lines.append(f"| {one['name']} | {value} |")
    return "\n".join([*lines, "", _origin(rows[0])])


def published(name: str) -> str:
    """Published figures beside the ledger's, of ``published.json``; a row without ours is not measured."""
    lines = ["| | published, % | ours, % | ours with |", "|---|---:|---:|---|"]
    origins = {}
    for one in json.loads((RESULTS.parent / "published.json").read_text(encoding="utf-8"))[name]:
        ours, where = "not measured", ""
        if "ours" in one:
            file, figure = one["ours"]
            rows = json.loads((RESULTS / f"{file}.json").read_text(encoding="utf-8"))
            (row,) = [row for row in rows if row["name"] == figure]
            ours, where = _pair(row["value"], row.get("std")), one["with"]
            origins[file] = _origin(row)
        lines.append(f"| {one['name']} | {one['published']} | {ours} | {where} |")
    return "\n\n".join(["\n".join(lines), *origins.values()])


def comparison(name: str) -> str:
    """The rows of a comparison as a Markdown table: a line per mode and budget, a column per method.

    In brackets the first method's gain over each other one, in bold where the interval does not exclude zero.
    """
    rows = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    places = list(dict.fromkeys((one["mode"], one["budget"]) for one in rows))
    labels = list(dict.fromkeys(one["label"] for one in rows))
    lines = [f"| | {' | '.join(labels)} | bytes |", "|---|" + "---:|" * (len(labels) + 1)]
    for mode, budget in places:
        here = {
            (one["label"], one.get("against")): one for one in rows if (one["mode"], one["budget"]) == (mode, budget)
        }
        cells = []
        for label in labels:
            text = _spread(here[label, None])
            gain = here.get((label, label))
            if gain is not None:
                shown = f"({_spread(gain, '+')})"
                text += f" **{shown}**" if _open(gain) else f" {shown}"
            cells.append(text)
        weights = [here[label, None]["bytes"] for label in labels]
        least = "" if min(weights) == max(weights) else f"{min(weights):,} to "
        lines.append(f"| {mode.replace('_', ' ')}, {budget} | {' | '.join(cells)} | {least}{max(weights):,} |")
    return "\n".join([*lines, "", _origin(rows[0])])


def differences(name: str) -> str:
    """The rows of ``results/NAME.json`` as a line per figure and a column for each that it is set against.

    A row called "ours minus rival" stands in the line of "ours", in bold where the interval does not exclude zero.
    """
    rows = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    gains = {tuple(one["name"].split(" minus ")): one for one in rows if " minus " in one["name"]}
    rivals = list(dict.fromkeys(rival for _, rival in gains))
    columns = ["value", "of", *(f"minus {rival}" for rival in rivals)]
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    for one in rows:
        figure = one["name"].partition(":")[0]
        if " minus " in figure:
            continue
        of = one["seeds"].partition(",")[0].rpartition(" of ")[2]
        cells = [_pair(one["value"], one.get("std")), of, *(_gain(gains.get((figure, rival))) for rival in rivals)]
        lines.append(f"| {figure} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", _origin(rows[0])])


def by_budget(name: str) -> str:
    """The rows of ``results/NAME.json`` and ``NAME_*.json`` as a line per budget and a column per memory.

    Rows are called "BUDGET: MEMORY", "BUDGET: OURS minus RIVAL" and "BUDGET: making OURS"; a budget begins with its
    number. Others stand below, of the first file.
    """
    files = [RESULTS / f"{name}.json", *sorted(RESULTS.glob(f"{name}_*.json"))]
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    rows = [one for run in runs for one in run if ": " in one["name"]]
    lines: dict[str, list[str]] = {}
    heads: list[str] = []
    for one in sorted(rows, key=lambda one: float(one["name"].split()[0])):
        budget, _, figure = one["name"].rpartition(": ")
        gain, seconds = " minus " in figure, one["unit"] == "s"
        head = figure if gain or seconds else figure.rpartition(", ")[0]
        heads += [head] if head not in heads else []
        text = _gain(one) if gain else f"{one['value']:.0f} s" if seconds else _spread(one)
        lines.setdefault(budget, []).append(text)
    table = [f"| | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    table += [f"| {budget} | {' | '.join(cells)} |" for budget, cells in lines.items()]
    below = [f"{one['name'].capitalize()}: {_spread(one)} %." for one in runs[0] if ": " not in one["name"]]
    return "\n".join([*table, "", *below, "", "\n\n".join(_origin(run[0]) for run in runs)])


def _gain(one: dict[str, Any] | None) -> str:
    if one is None:
        return ""
    return f"**{_spread(one, '+')}**" if _open(one) else _spread(one, "+")


def _open(gain: dict[str, Any]) -> bool:
    """Whether a gain may be none."""
    return bool(gain["value"] <= gain.get("ci95", 0.0))


def _spread(one: dict[str, Any], sign: str = "") -> str:
    return _pair(one["value"], one.get("ci95"), sign)


def _pair(value: float, half: float | None, sign: str = "") -> str:
    """Spaces that no line is broken at keep it together."""
    return f"{value:{sign}.1f}" + ("" if half is None else f"\u00a0±\u00a0{half:.1f}")


def _origin(row: dict[str, Any]) -> str:
    python, flag, module, *arguments = row["command"].split(" ")
    command = " ".join([python, flag, MOVED.get(module, module), *arguments])
    return (
        f"`{command}`, {row.get('seeds', 'one seed')}, {row['machine']}, {row['device']}, "
        f"torch {row['versions']['torch']}, commit {row['commit']}, {row['seconds']:.0f} s."
    )


def _number(value: float, unit: str) -> str:
    if unit == "%":
        return f"{value:.1f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def update(text: str) -> str:
    """Puts the tables of ``<!-- KIND: NAME -->`` up to their ``<!-- end -->``, each kind by the function below."""
    kinds = {"results": table, "comparison": comparison, "differences": differences, "published": published,
             "budgets": by_budget}  # fmt: skip

    def made(match: re.Match[str]) -> str:
        return f"<!-- {match[1]}: {match[2]} -->\n{kinds[match[1]](match[2])}\n<!-- end -->"

    return re.sub(rf"<!-- ({'|'.join(kinds)}): ([\w-]+) -->\n.*?<!-- end -->", made, text, flags=re.DOTALL)


def main() -> int:
    """Rewrites the pages; with ``--check`` only says whether they are current."""
    stale = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if update(text) != text:
            stale.append(page.name)
            if "--check" not in sys.argv:
                page.write_text(update(text), encoding="utf-8")
    print("current" if not stale else f"{'stale' if '--check' in sys.argv else 'rewritten'}: {', '.join(stale)}")
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
