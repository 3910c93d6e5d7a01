"""Count the code of the product: its size, its longest parts, its lines, its docstrings.

A commit's, or what lies here.

$ python -m benchmarks.house            # what lies here
$ git worktree add ../before <commit> && python -m benchmarks.house ../before
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from statistics import median, quantiles

PACKAGE = "sonar_access_pipeline"
NO_VERBS = (
    "everything",
    "nothing",
    "from",
    "as",
    "also",
    "what",
    "whether",
    "which",
    "how",
    "who",
    "where",
    "when",
    "why",
    "the",
    "a",
    "an",
    "every",
    "each",
    "one",
    "all",
    "by",
    "of",
)
"""Words with which a docstring begins that says what something is, and not what it does."""
NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def main(root: Path) -> None:
    """Print the figures."""
    files = {file: file.read_text() for file in sorted((root / PACKAGE).rglob("*.py"))}
    trees = {file: ast.parse(text) for file, text in files.items()}
    code = {file: _lines_of_code(text, trees[file]) for file, text in files.items()}
    functions = list(chain.from_iterable(map(_functions, trees.values())))
    longest = max(functions, key=_length)
    largest = max(code, key=lambda file: code[file])
    lengths = [len(line) for text in files.values() for line in text.splitlines() if line.strip()]
    described = [said for function in functions if (said := ast.get_docstring(function))]
    figures = {
        "statements of product code": sum(map(_statements, trees.values())),
        "lines of product code, without comments, docstrings and empty lines": sum(code.values()),
        "files": len(files),
        "largest file": f"{largest.relative_to(root)}, {code[largest]} lines of code",
        "longest function": f"{longest.name}, {_length(longest)} lines",
        "median function": f"{median(map(_length, functions)):.0f} lines",
        "length of a line, median and 90th percentile": (
            f"{median(lengths):.0f} and {quantiles(lengths, n=10)[-1]:.0f}"
        ),
        "lines over 100 columns": sum(length > 100 for length in lengths),
        "chained conditions, and comprehensions with two loops": sum(map(dense, trees.values())),
        "functions with a docstring that begins with no verb": sum(
            len(list(without_a_verb(tree))) for tree in trees.values()
        ),
        "functions with a docstring": len(described),
    }
    for what, figure in figures.items():
        sys.stdout.write(f"{what}: {figure}\n")


def without_a_verb(tree: ast.AST) -> Iterator[str]:
    """Yield the names of functions whose docstring says what something is, where it should say what
    the function does.
    """
    for function in _functions(tree):
        is_property = any(
            "property" in ast.unparse(decorator) for decorator in function.decorator_list
        )
        said = ast.get_docstring(function)
        if said and not is_property and said.split()[0].lower() in NO_VERBS:
            yield function.name


def _statements(tree: ast.AST) -> int:
    """Count statements, docstrings apart: what the layout does not change."""
    return sum(isinstance(node, ast.stmt) and not _is_text(node) for node in ast.walk(tree))


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def dense(tree: ast.AST) -> int:
    """Count expressions that a reader takes in by parts."""
    loops = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    return sum(
        (isinstance(node, loops) and len(node.generators) > 1)
        or (isinstance(node, ast.IfExp) and isinstance(node.orelse, ast.IfExp))
        for node in ast.walk(tree)
    )


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def _length(function: ast.FunctionDef) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


def _lines_of_code(text: str, tree: ast.AST) -> int:
    """Count the lines on which something stands that is neither a comment nor a docstring."""
    documented = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or 0) + 1)
    }
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    used = {
        line
        for token in tokens
        if token.type not in NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(used - documented)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
