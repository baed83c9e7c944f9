"""The shape of the code in figures: how much a reader has to keep in mind. Files are parsed, not run.

    python benchmarks/shape.py

Product code is the content of the wheel. A code line holds a token that is neither a comment nor part of a
docstring. A public name is a top-level class or function without a leading underscore. The closure of a
module is every file of ours that it imports, directly or not, at the top or inside functions; its loaded
files are those that importing it loads, so without imports inside functions or for type checking.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDERS = ("schemas", "ingest", "align", "shards", "report", "pipeline", "review", "trainer", "cli")
COMMENTED = ("trainer/model", "trainer/train", "ingest")


def product() -> dict[str, Path]:
    """Paths of all product modules by dotted name."""
    paths = (p for name in FOLDERS for p in (REPOSITORY / name).rglob("*.py"))
    return {
        "corpus." + ".".join(p.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): p
        for p in sorted(paths)
    }


def docstring_lines(tree: ast.Module) -> set[int]:
    """Lines of expressions that are only a string: docstrings of modules, functions and fields."""
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }


def line_counts(path: Path) -> tuple[int, int, int]:
    """Numbers of lines, of code lines, and of lines with a comment."""
    text = path.read_text(encoding="utf-8")
    code, comments = set[int](), set[int]()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            if not token.string.startswith(("# type:", "# noqa", "# fmt:")):
                comments.add(token.start[0])
        elif token.type not in (
            tokenize.NL,
            tokenize.NEWLINE,
            tokenize.INDENT,
            tokenize.DEDENT,
            tokenize.ENDMARKER,
        ):
            code |= set(range(token.start[0], token.end[0] + 1))
    code -= docstring_lines(ast.parse(text))
    return len(text.splitlines()), len(code), len(comments)


def public_names(path: Path) -> list[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return [node.name for node in body if isinstance(node, kinds) and not node.name.startswith("_")]


def imports(path: Path, modules: dict[str, Path]) -> set[str]:
    """Modules of ours that a file imports anywhere, for type checking too."""
    return _imported(ast.walk(ast.parse(path.read_text(encoding="utf-8"))), modules)


def loads(path: Path, modules: dict[str, Path]) -> set[str]:
    """Modules of ours that are loaded with a file, with the packages that hold them."""
    names = _imported(ast.parse(path.read_text(encoding="utf-8")).body, modules)
    parents = {name.rsplit(".", level)[0] for name in names for level in range(1, name.count(".") + 1)}
    return names | parents & modules.keys()


def _imported(nodes: Iterable[ast.AST], modules: dict[str, Path]) -> set[str]:
    names = set[str]()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= inner if inner <= modules.keys() else inner | {node.module}
    return names & modules.keys()


def closure(start: str, graph: dict[str, set[str]]) -> set[str]:
    seen, waiting = set[str](), [start]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph[name]
    return seen


def cycles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules that import each other, directly or not."""
    reach = {name: closure(name, graph) for name in graph}
    groups = {frozenset(b for b in reach[a] if a in reach[b]) for a in graph}
    return [set(group) for group in groups if len(group) > 1]


def main() -> None:
    modules = product()
    counts = {name: line_counts(path) for name, path in modules.items()}
    graph = {name: imports(path, modules) - {name} for name, path in modules.items()}
    loop = closure("corpus.trainer.train.loop", graph)
    loaded = closure("corpus.trainer.train.loop", {name: loads(p, modules) for name, p in modules.items()})
    lines, code, _ = map(sum, zip(*counts.values(), strict=True))
    print(f"files {len(modules)}, lines {lines}, code lines {code}")
    print(f"public top-level names {sum(len(public_names(path)) for path in modules.values())}")
    print(f"import closure of trainer.train.loop: {len(loop)} files, {sum(counts[n][0] for n in loop)} lines")
    print(f"loaded by importing it: {len(loaded)} files, {sum(counts[n][0] for n in loaded)} lines")
    print(f"import cycles, typing included: {len(cycles(graph))} {[sorted(c) for c in cycles(graph)] or ''}")
    for folder in COMMENTED:
        chosen = [counts[name] for name, path in modules.items() if (REPOSITORY / folder) in path.parents]
        share = 100 * sum(c[2] for c in chosen) / sum(c[0] for c in chosen)
        print(f"comments a 100 lines in {folder}: {share:.1f}")
    long = {name: c[0] for name, c in counts.items() if c[0] > 300}
    print(f"files over 300 lines: {long}")


if __name__ == "__main__":
    main()
