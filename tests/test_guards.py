"""What comes from outside passes one reader, what goes to a screen one printer: other ways are found in the source."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "prune_heads"
READERS = {
    "files.py": "the reader itself, and the writer",
    "store/objects.py": "bytes of the store, whose damage arrays.py sees by their checksum",
    "migration/__init__.py": "looks for names in bytes before it reads; the cures are shipped with the package",
    "execution/claims.py": "claims, which processes of ours write, and what the system says of processes",
    "studies/training.py": "saves of a training that was killed, by their checksums",
    "checkpoints/fit.py": "tensors, as weights alone",
    "guide/__init__.py": "shipped with the package",
    "checkpoints/head.py": "shipped with the package",
    "coverage/__init__.py": "shipped with the package",
    "__init__.py": "shipped with the package",
    "anatomy/families.py": "shipped with the package",
    "roles/definitions.py": "shipped with the package",
    "reporting/figures/looks.py": "shipped with the package",
    "options/scoring.py": "shipped with the package",
    "mini/__init__.py": "shipped with the package",
    "paper/__init__.py": "shipped with the package",
    "objectives/__init__.py": "shipped with the package",
    "objectives/images.py": "Pillow decodes what the reader has read",
}
"""Module -> why it may open, read or parse without the reader."""
PRINTERS = {
    "tables/terminal.py": "the printer itself, its lines and tables",
    "reporting/sweep.py": "its live display, of lines that the printer made",
    "cli/output.py": "prints what the printer made",
    "cli/app.py": "help and version",
    "cli/signals.py": "a note without names, within a signal handler",
}
READ = {"open", "read_text", "read_bytes", "load_file", "from_csv", "from_parquet"}
PARSERS = {
    "json.load",
    "json.loads",
    "tomllib.load",
    "tomllib.loads",
    "numpy.load",
    "np.load",
    "torch.load",
    "pickle.load",
}
PRINT = {"print", "echo", "Console", "Text", "Table"}


SOURCES = {file.relative_to(PACKAGE).as_posix(): file for file in PACKAGE.rglob("*.py")}


@pytest.fixture(scope="module")
def trees():
    return {name: ast.parse(file.read_text()) for name, file in SOURCES.items()}


def calls(tree):
    """Each function that is called by a name, with its line."""
    functions = ((node.func, node.lineno) for node in ast.walk(tree) if isinstance(node, ast.Call))
    for function, line in functions:
        if isinstance(function, ast.Name | ast.Attribute):
            yield (function.id if isinstance(function, ast.Name) else function.attr, ast.unparse(function), line)


def imported(tree):
    """What a module has from the package, whose `SweepFolder.open` opens no file."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return {each.name for node in nodes if str(node.module).startswith("prune_heads") for each in node.names}


def reading(tree):
    ours = {*imported(tree), "os"}
    for name, whole, line in calls(tree):
        if whole.split(".")[0] not in ours and (whole in PARSERS or name in READ):
            yield f"{line}: {whole}"


def printing(tree):
    ours = {*imported(tree), "pyarrow", *(node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))}
    yield from (
        f"{line}: {whole}" for name, whole, line in calls(tree) if name in PRINT and whole.split(".")[0] not in ours
    )
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("rich", "rich.text", "rich.table", "rich.markup"):
            yield f"{node.lineno}: {node.module}"


def test_files_from_outside_are_read_by_the_reader(trees):
    assert {
        name: list(reading(tree)) for name, tree in trees.items() if name not in READERS and any(reading(tree))
    } == {}


def test_what_is_shown_is_printed_by_the_printer(trees):
    others = {name: tree for name, tree in trees.items() if name not in PRINTERS}
    assert {name: list(printing(tree)) for name, tree in others.items() if any(printing(tree))} == {}


def test_the_guards_see_what_they_are_for():
    """Of modules that do without the reader and the printer."""
    ways = (
        "json.loads(x)",
        "Path(x).read_text()",
        "open(x)",
        "tomllib.load(x)",
        "from rich.text import Text",
        "print(x)",
    )
    source = "\n".join(ways)
    assert [len(list(look(ast.parse(source)))) for look in (reading, printing)] == [4, 2]


@pytest.mark.parametrize("name", [*READERS, *PRINTERS])
def test_an_excuse_names_a_file_that_needs_it(name, trees):
    look = reading if name in READERS else printing
    assert any(look(trees[name]))
