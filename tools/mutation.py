"""Plant small faults in the numeric code, one at a time, and see whether its tests notice.

``python tools/mutation.py losses metrics`` tries these packages (all without names); ``--again``
tries only what survived the last time. Either then writes the table and the survivors, each with
its reason from ``mutation_survivors.toml``, into ``benchmarks/results/mutation.md``.

A package's tests are imported and collected once; each mutant is a fork in which the code of one
function is exchanged and those tests run that reach its line, until one fails. Left out is what
acts at import, such as the default of a parameter.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fnmatch
import gc
import inspect
import json
import math
import os
import pickle
import random
import resource
import select
import signal
import sys
import time
import tomllib
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mutants import Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "output" / "mutation.jsonl"  # a line for each mutant tried; the last counts
REASONS = Path(__file__).with_name("mutation_survivors.toml")
TABLE = ROOT / "benchmarks" / "results" / "mutation.md"
# What numba compiles is left out: a changed copy would have to be compiled anew each time.
KERNELS = [
    "_classes",
    "_engine",
    "_filters",
    "_first_order",
    "_laplacian_of_gaussian",
    "_shape",
    "_textures",
    "_voxels",
]
# A package's name: its modules, and the tests that are its own.
PACKAGES = {
    "losses": ("skcyto/losses/*.py", ["tests/losses", "skcyto/losses"]),
    "feature_selection": (
        "skcyto/feature_selection/*.py",
        ["tests/feature_selection", "skcyto/feature_selection"],
    ),
    "metrics": ("skcyto/metrics/*.py", ["tests/metrics", "skcyto/metrics"]),
    "statistics": (
        "skcyto/model_selection/_statistics/*.py",
        ["tests/model_selection/statistics", "skcyto/model_selection/_statistics"],
    ),
    "radiomics": (
        "skcyto/feature_extraction/_radiomics/**/*.py",
        [
            "tests/feature_extraction/radiomics/test_ibsi.py",
            "tests/feature_extraction/radiomics/test_radiomics_regions.py",
            "tests/feature_extraction/radiomics/test_radiomics_values.py",
            "tests/feature_extraction/radiomics/test_radiomics_kernels.py",
            "tests/feature_extraction/radiomics/test_radiomics_settings.py",
            "tests/feature_extraction/radiomics/test_mask_corpus.py",
            "tests/feature_extraction/radiomics/test_radiomics_input.py",
        ],
    ),
}
PYTEST = ["-q", "-m", "not slow and not gpu", "-p", "no:cov", "--hypothesis-seed=0"]
# What is imported before pytest can't be rewritten by it, and need not.
PYTEST += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
_DIE_WITH_PARENT = 1  # Linux: PR_SET_PDEATHSIG
KILLED, SURVIVED, UNREACHED, TIMEOUT = "killed", "survived", "no test", "timeout"


def modules_of(package: str) -> list[Path]:
    """List the package's modules that hold code."""
    paths = sorted(ROOT.glob(PACKAGES[package][0]))
    if package == "radiomics":
        return [path for path in paths if path.stem in KERNELS]
    return [path for path in paths if path.stem != "__init__"]


def tests_of(package: str) -> list[str]:
    """List the files and folders that pytest is given, those of doctests last."""
    found = []
    for pattern in PACKAGES[package][1]:
        found += sorted(str(path) for path in ROOT.glob(pattern))
    return found


def mutants_in(path: Path) -> list[Mutant]:
    """List a module's mutants that act when a function is called, not at import."""
    return [mutant for mutant in mutants_of(path.read_text("utf-8")) if mutant.scope]


def choose(path: Path, arguments: argparse.Namespace) -> list[Mutant]:
    """Draw some of a module's mutants, in order of their lines; all with ``sample=0``."""
    mutants = mutants_in(path)
    if not arguments.sample or len(mutants) <= arguments.sample:
        return mutants
    generator = random.Random(f"{arguments.seed} {path.name}")
    chosen = generator.sample(range(len(mutants)), arguments.sample)
    return [mutants[index] for index in sorted(chosen)]


def in_fork(work: Callable[[], Any], timeout: float, cpu: float = np.inf) -> Any:
    """Run `work` in a fork and give its answer; TIMEOUT where it takes longer.

    None where the fork died, also of taking more than `cpu` seconds of the processor: on a busy
    machine an endless loop is told from a slow one by these. An exception is none of a test's, and
    raised here.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if cpu < np.inf:
            resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(cpu), math.ceil(cpu) + 1))
        os.close(reading)
        try:
            answer = pickle.dumps(work())
        except BaseException as error:
            answer = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(answer)
        os._exit(0)
    os.close(writing)
    parts, end = [], time.monotonic() + timeout
    try:
        while left := max(0.0, end - time.monotonic()):
            if select.select([reading], [], [], left)[0]:
                part = os.read(reading, 1 << 16)
                if not part:
                    answer = pickle.loads(b"".join(parts)) if parts else None
                    if isinstance(answer, RuntimeError):
                        raise answer
                    return answer
                parts.append(part)
        return TIMEOUT
    finally:
        os.close(reading)
        # The whole group: a test may have left workers of its own behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)


def quiet() -> None:
    """Send what a fork prints nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


class Runner:
    """A pytest plugin that takes over once everything is collected."""

    def __init__(self, plan: dict[Path, list[Mutant]]) -> None:
        self.plan = plan
        self.failed: set[str] = set()
        self.done = False

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Remember which tests failed."""
        if report.failed:
            self.failed.add(report.nodeid)

    def pytest_runtestloop(self, session: Any) -> bool:
        """Find out which test reaches what, then try the mutants."""
        items = {item.nodeid: item for item in session.items}
        found = in_fork(lambda: self.trace(items), 3600)
        if not isinstance(found, tuple):
            raise SystemExit("the tests did not come to an end without any fault planted")
        reached, seconds, failed = found
        if failed:
            print(f"left out, since they fail as it is: {', '.join(sorted(failed))}", flush=True)
        for path, mutants in self.plan.items():
            functions = functions_of(path)
            for mutant in mutants:
                names = {name for line in mutant.lines for name in reached[path].get(line, ())}
                order = sorted(names - failed - {""}, key=lambda name: seconds[name])
                tell(path, mutant, self.outcome(mutant, path, functions, items, order, seconds))
        self.done = True
        return True

    def trace(self, items: dict[str, Any]) -> tuple[dict[Path, Any], dict[str, float], set[str]]:
        """Run every test once and note the lines it reaches and its time."""
        import coverage

        quiet()
        files = [str(path) for path in self.plan]
        measure = coverage.Coverage(data_file=None, include=files, config_file=False)
        seconds = {}
        with measure.collect():
            for name, item in items.items():
                measure.switch_context(name)
                start = time.process_time()
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
                seconds[name] = time.process_time() - start
        data = measure.get_data()
        reached = {path: dict(data.contexts_by_lineno(str(path))) for path in self.plan}
        return reached, seconds, self.failed

    def outcome(
        self,
        mutant: Mutant,
        path: Path,
        functions: dict[str, list[types.FunctionType]],
        items: dict[str, Any],
        order: list[str],
        seconds: dict[str, float],
    ) -> str:
        """Say what becomes of a mutant under the tests that reach it, the shortest first."""
        if not order or mutant.scope not in functions:
            return UNREACHED
        codes = function_codes(compile(mutant.tree, str(path), "exec"))
        keys = [(mutant.scope, each.__code__.co_firstlineno) for each in functions[mutant.scope]]
        if any(
            codes[key].co_freevars != each.__code__.co_freevars
            for key, each in zip(keys, functions[mutant.scope], strict=True)
        ):
            codes = function_codes(compile(mutant.tree_with_class, str(path), "exec"))

        def work() -> str:
            quiet()
            for key, function in zip(keys, functions[mutant.scope], strict=True):
                function.__code__ = codes[key]
            for name in order:
                items[name].config.hook.pytest_runtest_protocol(item=items[name], nextitem=None)
                if self.failed:
                    return KILLED
            return SURVIVED

        cpu = 10 + 8 * sum(seconds[name] for name in order)
        return in_fork(work, 600, cpu) or KILLED


def function_codes(module: types.CodeType) -> dict[tuple[str, int], types.CodeType]:
    """Find the code of functions and methods by qualified name and first line."""
    found = {}
    for constant in module.co_consts:
        if isinstance(constant, types.CodeType):
            found[constant.co_qualname, constant.co_firstlineno] = constant
            if not constant.co_flags & inspect.CO_NEWLOCALS:  # of a class
                found.update(function_codes(constant))
    return found


def functions_of(path: Path) -> dict[str, list[types.FunctionType]]:
    """Find a module's functions in memory, decorated ones included."""
    found: dict[str, list[types.FunctionType]] = {}
    for thing in gc.get_objects():
        if type(thing) is types.FunctionType and thing.__code__.co_filename == str(path):
            found.setdefault(thing.__code__.co_qualname, []).append(thing)
    return found


def prepare_hypothesis() -> None:
    """Have hypothesis put up with a busy machine: slow examples say nothing of a mutant."""
    import hypothesis

    settings = hypothesis.settings
    settings.register_profile("mutation", suppress_health_check=list(hypothesis.HealthCheck))
    settings.load_profile("mutation")


def known_outcomes() -> dict[str, dict[str, str]]:
    """Read what became of mutants, by file and name."""
    found: dict[str, dict[str, str]] = {}
    if RESULTS.exists():
        for line in RESULTS.read_text("utf-8").splitlines():
            file, name, outcome = json.loads(line)
            found.setdefault(file, {})[name] = outcome
    return found


def tell(path: Path, mutant: Mutant, outcome: str) -> None:
    """Keep what became of a mutant, and print it if no test noticed."""
    relative = path.relative_to(ROOT).as_posix()
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps([relative, mutant.name, outcome]) + "\n")
    if outcome in (SURVIVED, UNREACHED):
        print(f"{relative}:{mutant.lines.start} {outcome}: {mutant.name}", flush=True)


def run(package: str, arguments: argparse.Namespace) -> None:
    """Try a package's mutants."""
    before = known_outcomes()
    plan = {}
    for path in modules_of(package):
        relative = path.relative_to(ROOT).as_posix()
        if not fnmatch.fnmatch(relative, f"*{arguments.only}*"):
            continue
        mutants = choose(path, arguments)
        if arguments.again:
            known = before.get(relative, {})
            mutants = [each for each in mutants if known.get(each.name) in (SURVIVED, UNREACHED)]
        elif arguments.more:
            mutants = [each for each in mutants if each.name not in before.get(relative, {})]
        plan[path] = mutants

    def collected() -> bool:
        import pytest

        prepare_hypothesis()
        pytest.main([*PYTEST, "-s", *tests_of(package)], plugins=[runner := Runner(plan)])
        return runner.done

    if not in_fork(collected, 1e6):
        raise SystemExit("the tests could not be collected, or fail without any fault planted")


def report() -> str:
    """Write what is known as Markdown: figures by file and package, then the survivors."""
    known = known_outcomes()
    reasons = tomllib.loads(REASONS.read_text("utf-8")) if REASONS.exists() else {}
    head = (
        "| file | possible | tried | killed | survived | killed, % | of the survivors, equivalent |"
    )
    lines = [head, "|---|---:|---:|---:|---:|---:|---:|"]
    survivors = []
    for package in PACKAGES:
        total = [0, 0, 0, 0]
        for path in modules_of(package):
            relative = path.relative_to(ROOT).as_posix()
            # The source may have changed since.
            names = [mutant.name for mutant in mutants_in(path)]
            tried = [name for name in names if name in known.get(relative, {})]
            left = [name for name in tried if known[relative][name] in (SURVIVED, UNREACHED)]
            if not tried:
                continue
            why = [reasons.get(relative, {}).get(name, "no reason given yet") for name in left]
            equivalent = sum(reason.startswith("equivalent") for reason in why)
            counts = [len(names), len(tried), len(left), equivalent]
            total = [old + new for old, new in zip(total, counts, strict=True)]
            lines.append(_row(f"`{relative}`", counts))
            if left:
                survivors.append(f"\n### `{relative}`\n")
                survivors += [f"- {name}: {w}" for name, w in zip(left, why, strict=True)]
        if total[1]:
            lines.append(_row(f"**{package}**", total))
    return "\n".join([*lines, "\n## Survivors", *survivors, ""])


def _row(name: str, counts: list[int]) -> str:
    possible, tried, left, equivalent = counts
    share = f"{100 * (tried - left) / tried:.1f}"
    return f"| {name} | {possible} | {tried} | {tried - left} | {left} | {share} | {equivalent} |"


def main() -> None:
    """Read the command line, try mutants, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="*", default=[], help=f"of {', '.join(PACKAGES)}")
    parser.add_argument("--only", default="", help="part of a module's path")
    parser.add_argument("--sample", type=int, default=0, help="mutants a module; 0: all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--again", action="store_true", help="only what survived the last time")
    parser.add_argument("--more", action="store_true", help="only what was not tried before")
    parser.add_argument("--report", action="store_true", help="only write the table")
    arguments = parser.parse_args()
    if unknown := set(arguments.packages) - set(PACKAGES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(PACKAGES)}")
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    if not arguments.report:
        for package in arguments.packages or PACKAGES:
            run(package, arguments)
    introduction = TABLE.read_text("utf-8").split("| file |")[0] if TABLE.exists() else ""
    TABLE.write_text(introduction + report(), "utf-8")


if __name__ == "__main__":
    main()
