"""Configurations, overrides and studies, changed."""

import json
import random
from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path

import yaml

from iid_cl.config.experiment import Config
from iid_cl.config.grid import cells
from iid_cl.config.reading import (
    dotted_keys,
    dump_config,
    flat,
    load_config,
    parse_config,
    read_override,
    shipped_configs,
)
from iid_cl.studies.cases import cases, load_study, shipped_studies
from tests.hardening.fuzzing.mutations import NUMBERS, TEXTS, altered, damaged

YAML_TEXTS = [
    "[" * 3000, "{a: " * 2000, "- " * 3000, "&a [*a]", "*a", "&a {<<: *a}", "{<<: [1]}", "!!binary gICA", "!!bool x",
    "!!int ''", "!!float ''", "!!timestamp x", "!!set {a, b}", "!!omap [a: 1]", "!!python/name:os.system", "! x",
    "!<x> y", "? [a]\n: b", "? {a: b}\n: c", "'", '"', '"\\ud800"', '"\\x1b[31m"', "|\n x", ">-\n x", "---", "...",
    "%YAML 9.9", "\t", "=", "<<", "0x" + "f" * 5000, "9" * 5000, "1" * 400, "1:" + "59:" * 500 + "1",
    "1:" + "59:" * 500 + "1.5", ".inf",
    "-.inf", ".nan", "1e400", "٣e٣", "@", "`", "#", "\ufeff", "\x85", "\u2028", "[" + "1," * 4000 + "]",
]  # fmt: skip


def bomb(random_: random.Random) -> str:
    """Aliases, or merge keys, of aliases of aliases."""
    each, levels = random_.randint(2, 12), random_.randint(2, 30)
    lines = ["a0: &a0 {x: 1}"]
    for level in range(1, levels):
        several = ", ".join([f"*a{level - 1}"] * each)
        form = f"{{<<: [{several}], y{level}: 1}}" if random_.random() < 0.5 else f"[{several}]"
        lines.append(f"a{level}: &a{level} {form}")
    key = random_.choice(["stream", "compare", "base", "variants", "name", "seed", "x"])
    return "\n".join([*lines, f"{key}: *a{levels - 1}"])


def mutated_yaml(random_: random.Random, text: str) -> bytes:
    """A YAML file, damaged in one of four ways."""
    kind = random_.randrange(10)
    if kind == 0:
        return bomb(random_).encode()
    if kind <= 3:
        return damaged(random_, text.encode())
    if kind <= 6:
        lines = text.splitlines()
        where = random_.randrange(len(lines))
        head = lines[where].partition(":")[0]
        lines[where] = f"{head}: {random_.choice(YAML_TEXTS)}" if random_.random() < 0.7 else random_.choice(YAML_TEXTS)
        return "\n".join(lines).encode("utf-8", errors="surrogatepass")
    values = yaml.safe_load(text)
    for _ in range(random_.choice((1, 1, 2, 4))):
        values = altered(random_, values)
    try:
        return yaml.safe_dump(values).encode("utf-8", errors="surrogatepass")
    except (yaml.YAMLError, ValueError):  # a number of too many digits cannot be written
        return b"seed: " + b"9" * 5000
    except RecursionError:
        return b"seed: " + b"[" * 600 + b"]" * 600


@cache
def _shipped(package: str, name: str) -> str:
    return (resources.files(package) / name).read_text(encoding="utf-8")


def configurations(random_: random.Random, folder: Path) -> Callable[[], object]:
    """Shipped configurations and the resolved defaults, changed."""
    name = random_.choice([*shipped_configs(), ""])
    text = _shipped("iid_cl.configs", name) if name else dump_config(Config())
    file = folder / "config.yaml"
    file.write_bytes(mutated_yaml(random_, text))
    return lambda: _spelt_out(load_config(str(file)))


def _spelt_out(config: Config) -> None:
    """What a command would do with a configuration before it reads data."""
    assert parse_config(yaml.safe_load(dump_config(config)), "again") == config
    few = len(config.compare.methods) * config.compare.seeds <= 30
    if few and all(len(list(values or [])) <= 3 for values in config.compare.budgets.model_dump().values()):
        cells(config, (1, 8, 8), 10)


def overrides(random_: random.Random, folder: Path) -> Callable[[], object]:
    """--set of any key with any value, one to three of them."""
    known = list(dotted_keys(Config))
    defaults = flat(Config().model_dump(mode="json"))

    def override() -> str:
        key = (
            random_.choice(known) if random_.random() < 0.8 else random_.choice([*TEXTS, "a." * 500 + "b", "memory..x"])
        )
        plain = [str(number) for number in NUMBERS if number != 10**400] + ["1" + "0" * 400]
        if random_.random() < 0.4:
            return f"{key}={json.dumps(defaults.get(key))}"
        likely = ["1", "2", "0.5", "true", "null", "distilled", "random", "convnet", "digits", "cpu", "auto"]
        value = random_.choice(likely if random_.random() < 0.5 else [*plain, *TEXTS, *YAML_TEXTS])
        if random_.random() < 0.1:
            value = damaged(random_, value.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogateescape")
        return random_.choice((f"{key}={value}",) * 9 + (value,))

    chosen = [override() for _ in range(random_.choice((1, 1, 2, 3)))]
    (folder / "overrides.txt").write_text("\n".join(map(ascii, chosen)))
    return lambda: _spelt_out(load_config(None, chosen))


def studies(random_: random.Random, folder: Path) -> Callable[[], object]:
    """Shipped studies, changed, with all their cases spelt out."""
    text = _shipped("iid_cl.configs.studies", random_.choice(shipped_studies()))
    file = folder / "study.yaml"
    file.write_bytes(mutated_yaml(random_, text))
    base = [read_override(f"memory.ipc={random_.choice((1, 5))}")] if random_.random() < 0.2 else []
    return lambda: cases(load_study(str(file), base))
