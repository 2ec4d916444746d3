"""Writes the generated parts of docs/architecture.md: the rooms with their arrows, and a line a file.

python docs/make_architecture.py            rewrite docs/architecture.md
python docs/make_architecture.py --check    fail if it is out of date
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = ("zoo", "catalog", "jobs")
SHOWN = (*PACKAGES, "benchmarks")
WIDTH = 28
SKIPPED = ("__pycache__", "__init__.py", "py.typed")


def describe(path: Path) -> str:
    """What a file is, in its own words: the first sentence of its docstring or first SQL comment."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".sql":
        comments = (line for line in text.splitlines() if line.startswith("--"))
        words = " ".join(line.removeprefix("--").strip() for line in comments)
    else:
        docstring = ast.get_docstring(ast.parse(text)) or ""
        words = " ".join(docstring.split("\n\n")[0].split())
    return words.split(". ")[0].rstrip(".:")


def tree() -> str:
    """Every file of the packages, indented by folder, with what it is."""
    lines = [line for package in SHOWN for line in _folder(ROOT / package, 0)]
    return "```\n" + "\n".join(lines) + "\n```"


def _folder(folder: Path, depth: int) -> Iterator[str]:
    init = folder / "__init__.py"
    yield _line(f"{folder.name}/", describe(init) if init.exists() else "", depth)
    entries = [entry for entry in sorted(folder.iterdir()) if entry.name not in SKIPPED]
    for entry in (e for e in entries if e.suffix in (".py", ".sql")):
        yield _line(entry.name, describe(entry), depth + 1)
    for entry in (e for e in entries if e.is_dir() and any(e.glob("*.[ps][yq]*"))):
        yield from _folder(entry, depth + 1)


def _line(name: str, words: str, depth: int) -> str:
    return f"{'  ' * depth + name:<{WIDTH}} {words}".rstrip()


def rooms() -> str:
    """A table of the rooms: how many modules each holds, and which rooms it imports."""
    modules = _modules()
    sizes: dict[str, int] = defaultdict(int)
    arrows: dict[str, set[str]] = defaultdict(set)
    count = 0
    for module, path in modules.items():
        sizes[_room(module, modules)] += path.name != "__init__.py"
        for other in _imports(path, modules) - {module}:
            count += 1
            arrows[_room(module, modules)].add(_room(other, modules))
    lines = ["| room | modules | imports from |", "| --- | --- | --- |"]
    for room in sorted(sizes):
        used = ", ".join(f"`{other}`" for other in sorted(arrows[room] - {room})) or "nothing"
        lines.append(f"| `{room}` | {sizes[room]} | {used} |")
    total = f"{sum(sizes.values())} modules in {len(sizes)} rooms, {count} imports among them."
    return "\n".join([*lines, "", total])


def _modules() -> dict[str, Path]:
    """Every module of the packages by dotted name."""
    paths = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return {_dotted(path): path for path in paths}


def _dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def _room(module: str, modules: dict[str, Path]) -> str:
    """The folder a module lives in; a module of the top level belongs to its package."""
    parts = module.split(".")
    is_folder = modules[module].name == "__init__.py"
    return ".".join(parts[:2]) if len(parts) > 2 or is_folder else parts[0]


def _imports(path: Path, modules: dict[str, Path]) -> set[str]:
    """Modules of ours that a file imports, at its top or inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in modules else node.module for name in whole}
    return names & modules.keys()


def rewritten(text: str) -> str:
    """The page with its generated blocks as they should be."""
    for name, block in (("rooms", rooms()), ("tree", tree())):
        head, _, rest = text.partition(f"<!-- {name} -->")
        _, _, tail = rest.partition(f"<!-- /{name} -->")
        text = f"{head}<!-- {name} -->\n{block}\n<!-- /{name} -->{tail}"
    return text


def main() -> int:
    """Rewrite, or check."""
    text = PAGE.read_text(encoding="utf-8")
    new = rewritten(text)
    if "--check" in sys.argv:
        if new != text:
            print(
                f"{PAGE.name} is out of date; run python docs/make_architecture.py", file=sys.stderr
            )
            return 1
        return 0
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
