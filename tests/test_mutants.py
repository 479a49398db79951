"""The faults that tools/mutation.py plants: small, each in one place, and none in texts."""

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[1] / "tools" / "mutants.py"
SOURCE = '''
MOST = 3


class Counter:
    step = 1

    @property
    def next(self) -> int | None:
        """Say what comes next, 1 more than now."""
        return self.now + self.step

    def check(self, values: list[int], strict=True):
        if not values or len(values) > MOST:
            raise ValueError(f"{len(values) + 1} values")
        self.total = -sum(values) * 0.5
        self.log("counted")
        for a, b in zip(values, values, strict=True):
            self.total += a is b
'''


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("mutants", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutants"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["mutants"]


@pytest.fixture(scope="module")
def mutants(tool):
    return list(tool.mutants_of(SOURCE))


def test_every_fault_is_named_with_its_place(mutants):
    found = {mutant.name: mutant for mutant in mutants}
    assert len(found) == len(mutants)
    inside = {name for name, mutant in found.items() if mutant.scope}
    assert inside == {
        "Counter.next: `self.now + self.step` to `self.now - self.step`",
        "Counter.next: `return self.now + self.step` to `return None`",
        "Counter.check: `not values or len(values) > MOST` to `not values and len(values) > MOST`",
        "Counter.check: `not values` to `values`",
        "Counter.check: `len(values) > MOST` to `len(values) >= MOST`",
        "Counter.check: `raise ValueError(f'{len(values) + 1} values')` to `pass`",
        "Counter.check: `self.total = -sum(values) * 0.5` to `pass`",
        "Counter.check: `-sum(values) * 0.5` to `-sum(values) / 0.5`",
        "Counter.check: `-sum(values)` to `sum(values)`",
        "Counter.check: `0.5` to `1.0`",
        "Counter.check: `self.log('counted')` to `pass`",
        "Counter.check: `self.total += a is b` to `self.total -= a is b`",
        "Counter.check: `self.total += a is b` to `pass`",
        "Counter.check: `a is b` to `a is not b`",
    }
    # These act at import.
    assert {name for name, mutant in found.items() if not mutant.scope} == {
        ": `3` to `4`",
        "Counter: `1` to `2`",
        "Counter.check: `True` to `False`",
    }


def test_each_differs_in_one_place_and_compiles(mutants):
    original = ast.unparse(ast.parse(SOURCE)).splitlines()
    for mutant in mutants:
        compile(mutant.tree, "counter.py", "exec")
        changed = ast.unparse(mutant.tree).splitlines()
        assert len(changed) == len(original)
        assert sum(a != b for a, b in zip(original, changed, strict=True)) == 1


def test_a_method_without_its_super_can_still_take_the_place_of_the_one_with_it(tool):
    source = "class Loud:\n    def __repr__(self):\n        return super().__repr__().upper()\n"
    space = {}
    exec(source, space)
    silent = next(m for m in tool.mutants_of(source) if m.name.endswith("to `return None`"))
    exec(compile(silent.tree_with_class, "loud.py", "exec"), changed := {})
    space["Loud"].__repr__.__code__ = changed["Loud"].__repr__.__code__
    assert space["Loud"]().__repr__() is None
