"""The house's own rules: which way imports run, and how long its parts may be."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1] / "skcyto"
MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
PARSED = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}

# What is longer, or takes more, than it should, and why.
LONG_FUNCTIONS = {
    "skcyto.inspection._shapley._explain.explain": "the steps of one call, in their order",
    "skcyto.neural_network._transformer._fit.fine_tune": "the steps of a fit, in their order",
    "skcyto.utils._backbones._recipes.known_backbones": "a table",
}
LONG_FILES = {
    "skcyto.feature_extraction._radiomics._extractor": "its docstring is the page of the class",
}
MANY_PARAMETERS = {
    "skcyto.datasets._synthetic._cell_canvas.add_nucleus": "numbers of a drawing",
    "skcyto.inspection._plot._image_grid.place_cell": "numbers of a drawing",
    **dict.fromkeys(
        (
            "skcyto.feature_extraction._radiomics._kernels._cooccurrence._count",
            "skcyto.feature_extraction._radiomics._kernels._cooccurrence._measure",
            "skcyto.feature_extraction._radiomics._kernels._cooccurrence._of_both",
            "skcyto.feature_extraction._radiomics._kernels._cooccurrence._of_sums",
            "skcyto.feature_extraction._radiomics._kernels._cooccurrence.cooccurrence",
            "skcyto.feature_extraction._radiomics._kernels._maps.texture_maps",
        ),
        "arrays of an inner loop",
    ),
}


def imports_of(name):
    """Name the modules of skcyto that a module imports, wherever it does."""
    found = set()
    for node in ast.walk(PARSED[name]):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            targets = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            while target and target not in MODULES:
                target = target.rpartition(".")[0]
            if target:
                found.add(target)
    return found - {name}


def find_circles(graph):
    """Find the strongly connected parts of more than one module (Tarjan)."""
    index, low, stack, circles = {}, {}, [], []

    def visit(name):
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph[name]:
            if other not in index:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == index[name]:
            part = set(stack[stack.index(name) :])
            del stack[stack.index(name) :]
            if len(part) > 1:
                circles.append(part)

    for name in graph:
        if name not in index:
            visit(name)
    return circles


def test_no_circle_of_imports_of_any_kind():
    """At the top of a module, within functions, and for type checkers alone."""
    graph = {name: imports_of(name) for name in MODULES}
    assert [sorted(circle) for circle in find_circles(graph)] == []


def test_a_circle_is_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}
    assert find_circles(graph) == [{"b", "c"}]


def functions():
    for name, tree in PARSED.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name}.{node.name}", node


def length_of_body(node):
    body = node.body
    is_text = isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
    body = body[1:] if is_text and isinstance(body[0].value.value, str) else body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_no_function_is_longer_than_a_page():
    """At most 60 lines without the docstring; `__init__` that only assigns may be longer."""
    found = {
        name for name, node in functions() if node.name != "__init__" and length_of_body(node) > 60
    }
    assert found == set(LONG_FUNCTIONS)


def test_no_file_is_longer_than_500_lines():
    found = {
        name
        for name, path in MODULES.items()
        if len(path.read_text(encoding="utf-8").splitlines()) > 500
    }
    assert found == set(LONG_FILES)


def n_parameters(node):
    names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def test_no_private_function_has_more_than_seven_parameters():
    found = {
        name
        for name, node in functions()
        if node.name != "__init__"
        and any(part.startswith("_") for part in name.split("."))
        and not is_public(name, node)
        and n_parameters(node) > 7
    }
    assert found == set(MANY_PARAMETERS)


def is_public(name, node):
    """Whether the class or function is exported by a package."""
    module = name.rpartition(".")[0]
    tree = PARSED[module]
    package = PARSED[".".join(module.split(".")[:2])]
    exported = {
        element.value
        for statement in package.body
        if isinstance(statement, ast.Assign) and statement.targets[0].id == "__all__"
        for element in statement.value.elts
    }
    for top in tree.body:
        if top is node:
            return node.name in exported
        if isinstance(top, ast.ClassDef) and node in top.body:
            return top.name in exported and not node.name.startswith("_")
    return False
