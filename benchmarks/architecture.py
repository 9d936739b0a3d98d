"""Figures of the architecture: circles, sizes, who reads which stored file, and a rerun's cost.

    python benchmarks/architecture.py

``--tree DIRECTORY`` takes the static figures of another checkout, such as an older one; the figures
of a rerun, of ``import ensemble`` and of ``--help`` are always those of the installed package.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tokenize
import tomllib
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

STORED = (
    "config.toml",
    "battles.parquet",
    "battles.json",
    "folds.parquet",
    "folds.json",
    "oof.parquet",
    "test.parquet",
    "train_ids.parquet",
    "manifest.json",
    "candidates.json",
    "verdict.json",
    "audit.json",
    "submission.csv",
    "events.jsonl",
)
LONG = 250
"""Lines that a file should not have more of."""

CONFIG = """\
run_dir = "run"
seed = 1
[[sources]]
name = "arena"
path = "train.csv"
role = "target"
[test]
path = "test.csv"
[folds]
n_splits = {folds}
[stack]
nesting = "plain"
"""
LEARNER = """
[[learners]]
name = "learner{index}"
plugin = "counted"
shift = {index}.0
"""
COUNTED = '''\
"""A learner that writes down each of its constructions."""

import os

import numpy as np

from ensemble import BaseLearner, hookimpl


@hookimpl
def register_base_learners(register):
    register("counted", Counted)


class Counted(BaseLearner):
    """Knows the class shares."""

    def __init__(self, *, shift=0.0):
        self.shift = shift
        with open(os.environ["COUNTED"], "a") as file:
            file.write("x")

    def fit(self, battles, labels, *, sample_weight=None, groups=None, context):
        self.logits = np.log(labels.mean(axis=0) + 0.01)
        return self

    def predict_logits(self, battles):
        lengths = battles["response_a"].list.join(" ").str.len_chars().to_numpy()
        tilt = np.sin(lengths + self.shift)[:, None] * [0.1, -0.1, 0.0]
        return (self.logits + tilt).astype(np.float32)

    def save(self, directory):
        np.save(directory / "logits.npy", self.logits)

    def load(self, directory):
        self.logits = np.load(directory / "logits.npy")
        return self
'''
RERUN = """\
import json, sys, time
from collections import Counter
from pathlib import Path

inside, opened = str(Path("run").resolve()), Counter()


def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        path = arguments[0] if isinstance(arguments[0], str) else arguments[0].decode()
        path, mode = str(Path(path).absolute()), arguments[1] or "r"
        if path.startswith(inside) and "r" in mode and "+" not in mode and Path(path).is_file():
            opened[path] += 1


sys.addaudithook(watch)
import hashlib

hashed, bare = [0], hashlib.sha256


def counting(*data, **options):
    hashed[0] += not data
    return bare(*data, **options)


hashlib.sha256 = counting
began = time.perf_counter()
import ensemble

ensemble.run("config.toml")
seconds = time.perf_counter() - began
named = Counter(Path(path).name for path in opened.elements())
most = max(opened.values())
print(json.dumps({"seconds": seconds, "hashes": hashed[0], "files": len(opened), "most": most,
                  "opens": sum(opened.values())}))
"""


def main() -> None:
    """Print a table of the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tree", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--rows", type=int, default=600, help="battles of the rerun")
    parser.add_argument("--static", action="store_true", help="only what is read from the sources")
    options = parser.parse_args()
    figures = {**static_figures(options.tree), **({} if options.static else costs(options.rows))}
    for name, value in figures.items():
        print(f"| {name} | {value} |")


def static_figures(tree: Path) -> dict[str, str]:
    """Say what the sources say of themselves."""
    packages = _packages(tree)
    files = [path for package in packages for path in sorted(package.rglob("*.py"))]
    lengths = sorted(length for path in files for length in _function_lengths(path))
    long = [path for path in files if len(path.read_text().splitlines()) > LONG]
    readers = {name: count for name, count in _readers(files).items() if count}
    tests = list((tree / "tests").rglob("*.py"))
    long_tests = [path for path in tests if len(path.read_text().splitlines()) > 400]
    return {
        "packages whose modules import in a circle": f"{_circles(tree, packages)}",
        "modules": f"{len(files)}",
        "lines of code": f"{sum(map(_code_lines, files)):,}",
        "lines of a function: median, p90, max": (
            f"{statistics.median(lengths):.0f}, {lengths[len(lengths) * 9 // 10]}, {lengths[-1]}"
        ),
        f"files over {LONG} lines": f"{len(long)}",
        "test files over 400 lines": f"{len(long_tests)}",
        "tests' imports of internals": f"{_internal_imports(tests, packages)}",
        "modules that name a stored file": ", ".join(f"{k} {v}" for k, v in readers.items()),
    }


def _packages(tree: Path) -> list[Path]:
    """Find the packages that the wheel holds."""
    project = tomllib.loads((tree / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    return [tree / name for name in wheel["packages"]]


def _circles(tree: Path, packages: list[Path]) -> str:
    """Name the packages in which siblings import each other in a circle, annotations included."""
    program = (
        "import grimp, json, sys\n"
        "graph = grimp.build_graph(*sys.argv[1:])\n"
        "broken = [m for m in sorted(graph.modules) if graph.find_children(m)"
        " and graph.nominate_cycle_breakers(m)]\n"
        "print(json.dumps(broken))"
    )
    path = os.pathsep.join({str(package.parent) for package in packages})
    names = [package.name for package in packages]
    found = json.loads(_output([sys.executable, "-c", program, *names], tree, PYTHONPATH=path))
    return f"{len(found)} {', '.join(found)}".strip()


def _code_lines(path: Path) -> int:
    """Count lines with code: no blank lines, comments or docstrings."""
    source = path.read_text()
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skipped and token.type != tokenize.ENDMARKER:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - _docstring_lines(ast.parse(source)))


def _docstring_lines(tree: ast.Module) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for inner in body if isinstance(body, list) else []:
            if _is_text(inner):
                lines.update(range(inner.lineno, (inner.end_lineno or inner.lineno) + 1))
    return lines


def _is_text(node: ast.AST) -> bool:
    """Say whether a statement is a text alone: a docstring, or the words below a constant."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _function_lengths(path: Path) -> Iterator[int]:
    """Give the lines of each function, its docstring left out."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            text = node.body[0] if _is_text(node.body[0]) else None
            words = (text.end_lineno or 0) - text.lineno + 1 if text is not None else 0
            yield (node.end_lineno or node.lineno) - node.lineno + 1 - words


def _readers(files: list[Path]) -> dict[str, int]:
    """Count the modules in which a stored file's name stands as a text of its own."""
    readers: dict[str, set[Path]] = defaultdict(set)
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value in STORED:
                readers[str(node.value)].add(path)
    return {name: len(readers[name]) for name in STORED}


def _internal_imports(tests: list[Path], packages: list[Path]) -> int:
    """Count imports in tests of modules below a package's own door."""
    names = {package.name for package in packages}
    count = 0
    for path in tests:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module != "ensemble":
                count += node.module.split(".")[0] in names
    return count


def costs(rows: int) -> dict[str, str]:
    """Measure a run of 9 fits, a rerun of 50 with nothing to do, and the start of the program."""
    nine, fifty = _fits(3, 3, rows), _fits(10, 5, rows)
    rerun = fifty["rerun"]
    return {
        "constructor calls a fit, of 9": f"{nine['made'] / 9:.1f}",
        "constructor calls of a rerun of 9 fits": f"{nine['made again']}",
        "rerun of 50 fits with nothing to do": f"{rerun['seconds']:.2f} s",
        "its file hashes, files, openings, most of one file": (
            f"{rerun['hashes']}, {rerun['files']}, {rerun['opens']}, {rerun['most']}"
        ),
        "`import ensemble`": f"{_seconds([sys.executable, '-c', 'import ensemble']):.2f} s",
        "`ensemble --help`": f"{_seconds([sys.executable, '-m', 'ensemble', '--help']):.2f} s",
        "python alone": f"{_seconds([sys.executable, '-c', 'pass']):.2f} s",
    }


def _fits(learners: int, folds: int, rows: int) -> dict[str, Any]:
    """Run learners and rerun them twice: files written just now are hashed twice."""
    with tempfile.TemporaryDirectory() as directory:
        place, counter = Path(directory), Path(directory) / "count"
        _write_battles(place, rows)
        text = CONFIG.format(folds=folds) + "".join(
            LEARNER.format(index=index) for index in range(learners)
        )
        (place / "config.toml").write_text(text)
        (place / "counted.py").write_text(COUNTED)
        about = place / "counted-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: counted\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text("[ensemble]\ncounted = counted\n")
        counts: Counter[str] = Counter()
        for name in ("made", "made again"):
            counter.write_text("")
            _output([sys.executable, "-c", 'import ensemble; ensemble.run("config.toml")'], place)
            counts[name] = len(counter.read_text())
        time.sleep(3)
        output = _output([sys.executable, "-c", RERUN], place)
        return {**counts, "rerun": json.loads(output.splitlines()[-1])}


def _write_battles(place: Path, rows: int) -> None:
    import numpy as np
    import polars as pl

    generator = np.random.default_rng(1)

    def texts(words: int) -> list[str]:
        drawn = generator.integers(0, 10**6, (rows, words))
        return [json.dumps([" ".join(map(str, row))]) for row in drawn]

    battles = pl.DataFrame(
        {
            "id": [f"b{row}" for row in range(rows)],
            "prompt": texts(10),
            "response_a": texts(20),
            "response_b": texts(20),
            "winner_model_a": [int(row % 3 == 0) for row in range(rows)],
            "winner_model_b": [int(row % 3 == 1) for row in range(rows)],
            "winner_tie": [int(row % 3 == 2) for row in range(rows)],
        }
    )
    battles.write_csv(place / "train.csv")
    test = battles.drop("winner_model_a", "winner_model_b", "winner_tie")
    test.with_columns(id=pl.format("test-{}", "id")).write_csv(place / "test.csv")


def _seconds(command: list[str]) -> float:
    """Give the least of five times."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        _output(command, Path.cwd())
        times.append(time.perf_counter() - began)
    return min(times)


def _output(command: list[str], place: Path, **environment: str) -> str:
    path = os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {
        **os.environ,
        "COUNTED": str(place / "count"),
        "PYTHONPATH": path,
        **environment,
    }
    finished = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    if finished.returncode:
        raise SystemExit(finished.stdout + finished.stderr)
    return finished.stdout


if __name__ == "__main__":
    main()
