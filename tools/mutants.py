"""The small faults that ``mutation.py`` plants: one changed operator, number, test or statement."""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
_ANNOTATIONS = ("annotation", "returns", "type_params")
_LONGEST = 90


@dataclass
class Mutant:
    """One fault.

    Attributes
    ----------
    scope : str
        Qualified name of the outermost function that holds it; empty where it acts at import, as
        defaults of parameters and class attributes do.
    lines : range
        Of the statement that holds it; the first lines only where others are nested in it.
    name : str
        What is changed, and into what.
    """

    scope: str
    lines: range
    name: str
    _module: ast.Module
    _place: _Place
    _replacement: ast.AST

    @property
    def tree(self) -> ast.Module:
        """The module with the fault, made anew each time."""
        self._place.put(self._replacement)
        try:
            return ast.fix_missing_locations(copy.deepcopy(self._module))
        finally:
            self._place.put(self._place.node)

    @property
    def tree_with_class(self) -> ast.Module:
        """The same, the function's reference to its class kept where its only ``super()`` went."""
        tree: Any = self.tree
        function = tree
        for name in self.scope.split("."):
            function = next(each for each in function.body if getattr(each, "name", "") == name)
        function.body += ast.parse("if False:\n    __class__").body
        return ast.fix_missing_locations(tree)


def mutants_of(source: str) -> Iterator[Mutant]:
    """Make one mutant after the other of a module; texts and annotations are left alone."""
    tree = ast.parse(source)
    seen: Counter[str] = Counter()
    for place in list(_places(tree, (), False, None)):
        for replacement in _replacements(place.node):
            where = place.scope or place.path
            name = f"{where}: `{_text(place.node)}` to `{_text(replacement)}`"
            seen[name] += 1
            name += f" ({seen[name]})" if seen[name] > 1 else ""
            yield Mutant(place.scope, place.lines, name, tree, place, replacement)


@dataclass
class _Place:
    """Where a node may be replaced."""

    parent: ast.AST
    field: str
    index: int | None
    node: ast.AST
    path: str
    scope: str
    statement: ast.stmt

    def put(self, node: ast.AST) -> None:
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node

    @property
    def lines(self) -> range:
        first, last = self.statement.lineno, self.statement.end_lineno or self.statement.lineno
        nested = getattr(self.statement, "body", None)
        return range(first, (max(first, nested[0].lineno - 1) if nested else last) + 1)


def _places(
    node: ast.AST, path: tuple[str, ...], in_body: bool, statement: ast.stmt | None
) -> Iterator[_Place]:
    for field, value in ast.iter_fields(node):
        if field in _ANNOTATIONS:
            continue
        body = in_body or (isinstance(node, FUNCTIONS) and field == "body")
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or _is_left_alone(child):
                continue
            here = child if isinstance(child, ast.stmt) else statement
            if here is not None:
                dotted = ".".join(path)
                yield _Place(node, field, index, child, dotted, dotted if body else "", here)
            named = not body and isinstance(child, FUNCTIONS | ast.ClassDef)
            if not isinstance(child, ast.Raise):
                below = (*path, child.name) if named else path  # type: ignore[attr-defined]
                yield from _places(child, below, body, here)


def _is_left_alone(node: ast.AST) -> bool:
    """Tell texts, what only type checkers see, and ``zip(strict=True)``, which only asserts."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.keyword) and node.arg == "strict"
    )


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(ops=ops):
            for index, operator in enumerate(ops):
                new = copy.copy(node)
                new.ops = [*ops[:index], COMPARISONS[type(operator)](), *ops[index + 1 :]]
                yield new
        case ast.BinOp(op=operator) | ast.AugAssign(op=operator):
            if type(operator) in OPERATORS and not _has_text(node):
                new = copy.copy(node)
                new.op = OPERATORS[type(operator)]()
                yield new
            if isinstance(node, ast.AugAssign):
                yield ast.Pass()
        case ast.BoolOp(op=operator):
            new = copy.copy(node)
            new.op = ast.Or() if isinstance(operator, ast.And) else ast.And()
            yield new
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(2 * value if isinstance(value, float) and value else value + 1)
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            if not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Constant):
                new = copy.copy(node)
                new.test = ast.UnaryOp(ast.Not(), test)
                yield new
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield ast.Return(ast.Constant(None))
        case ast.Raise() | ast.Continue() | ast.Break() | ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()


def _has_text(node: ast.AST) -> bool:
    parts = (getattr(node, name, None) for name in ("left", "right", "value"))
    return any(
        isinstance(part, ast.JoinedStr)
        or (isinstance(part, ast.Constant) and isinstance(part.value, str))
        for part in parts
    )


def _text(node: ast.AST) -> str:
    match node:
        case ast.If(test=test) | ast.While(test=test):
            return f"{type(node).__name__.lower()} {ast.unparse(test)}"
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
