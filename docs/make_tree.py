"""Writes the tree in README.md from the first line of every file's docstring (or first SQL comment).

python docs/make_tree.py            rewrite README.md
python docs/make_tree.py --check    fail if README.md is out of date
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- tree -->", "<!-- /tree -->"
PACKAGES = ("zoo", "catalog", "jobs", "benchmarks")
WIDTH = 26


def describe(path: Path) -> str:
    """What a file is, in its own words: the first sentence of its docstring."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".sql":
        comment = [
            line.removeprefix("--").strip() for line in text.splitlines() if line.startswith("--")
        ]
        said = " ".join(comment)
    else:
        said = " ".join((ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0].split())
    first = said.split(". ")[0].rstrip(".:")
    return first


def tree() -> str:
    """The block between the markers."""
    lines: list[str] = []
    for package in PACKAGES:
        lines += _folder(ROOT / package, 0)
    return "```\n" + "\n".join(lines) + "\n```"


def _folder(folder: Path, depth: int) -> list[str]:
    init = folder / "__init__.py"
    said = describe(init) if init.exists() and init.stat().st_size else ""
    name = "  " * depth + folder.name + "/"
    lines = [f"{name:<{WIDTH}} {said}".rstrip()]
    for path in sorted(folder.iterdir(), key=lambda p: (p.is_dir(), p.name)):
        if path.is_dir() and any(path.rglob("*.py")) | any(path.rglob("*.sql")):
            if path.name != "__pycache__":
                lines += _folder(path, depth + 1)
        elif path.suffix in (".py", ".sql") and path.name != "__init__.py":
            name = "  " * (depth + 1) + path.name
            lines.append(f"{name:<{WIDTH}} {describe(path)}".rstrip())
    return lines


def rewritten(text: str) -> str:
    """README.md with the block as it should be."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{tree()}\n{END}{tail}"


def main() -> int:
    """Rewrite, or check."""
    text = README.read_text(encoding="utf-8")
    new = rewritten(text)
    if "--check" in sys.argv:
        if new != text:
            print(
                "README.md: the tree is out of date; run python docs/make_tree.py", file=sys.stderr
            )
            return 1
        return 0
    README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
