"""`zoo completion`"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Shell = Literal["bash", "zsh", "fish"]
"""Shells that can complete commands of `zoo`."""


def completion(shell: Shell | None = None, *, install: bool = False, quiet: bool = False) -> int:
    """Print, or install, what makes a shell complete commands, options, files, boards and models of `zoo`.

    Parameters
    ----------
    shell
        Default: the one you use ($SHELL).
    install
        Write it to the shell's folder for completions, and a line to its start-up file where it needs one. The
        next shell that is opened completes.
    quiet
        Say nothing but errors.
    """
    from jobs.screen.progress import Progress
    from zoo.errors import UseError

    chosen = shell or _own_shell()
    script = script_of(chosen)
    if not install:
        print(script)
        return 0
    place = _place(chosen)
    try:
        written = [place.script, *place.prepared()]
        place.script.parent.mkdir(parents=True, exist_ok=True)
        place.script.write_text(script, encoding="utf-8")
    except OSError as error:
        raise UseError(
            f"cannot install: {error}; `zoo completion {chosen}` prints the script"
        ) from error
    Progress(quiet=quiet).say(
        f"wrote {', '.join(map(str, written))}; open a new {chosen} to use it"
    )
    return 0


def script_of(shell: Shell) -> str:
    """The script for one shell. In bash, what is no word of `zoo` is completed as files are: folders with a slash
    and no blank behind it, which cyclopts' own way of listing files does not do."""
    from jobs.cli import app

    script = app.generate_completion(shell=shell)
    if shell == "bash":
        lines = [
            line.split("COMPREPLY=")[0] + "COMPREPLY=()" if "compgen -f" in line else line
            for line in script.splitlines()
        ]
        script = "\n".join(lines).replace(
            "complete -F _zoo zoo", "complete -o bashdefault -o default -F _zoo zoo"
        )
    return script


def _own_shell() -> Shell:
    from zoo.errors import UseError

    name = os.path.basename(os.environ.get("SHELL", ""))
    for shell in get_args(Shell):
        if name == shell:
            return shell  # type: ignore[no-any-return]  # one of the three
    raise UseError(
        f"got {name!r} from $SHELL; wanted one of {', '.join(get_args(Shell))}: zoo completion SHELL"
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a shell looks."""

    script: Path
    startup: Path | None
    """The file that has to name it; None: the shell finds it."""
    first: str = ""
    """Line that must stand before all others of `startup`."""
    last: str = ""
    """Line that must stand behind all others, unless `unless` is in the file."""
    unless: str = ""

    def prepared(self) -> list[Path]:
        """Write the lines that are missing to the start-up file; the file, if it was changed."""
        if self.startup is None:
            return []
        before = self.startup.read_text(encoding="utf-8") if self.startup.exists() else ""
        after = before
        if self.first and self.first not in before:
            after = f"{self.first}\n{after}"
        if self.last and (self.unless or self.last) not in before:
            newline = "" if not after or after.endswith("\n") else "\n"
            after = f"{after}{newline}{self.last}\n"
        if after == before:
            return []
        self.startup.write_text(after, encoding="utf-8")
        return [self.startup]


def _place(shell: Shell) -> _Place:
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    if shell == "bash":
        # found there by the package bash-completion, where that is installed; the line is for the others
        script = data / "bash-completion" / "completions" / "zoo"
        return _Place(script, home / ".bashrc", last=f"[ -r '{script}' ] && . '{script}'")
    if shell == "zsh":  # the file is called as the function in it
        dots = Path(os.environ.get("ZDOTDIR") or home)
        folder = data / "zsh" / "site-functions"
        compinit = "autoload -Uz compinit && compinit"
        return _Place(
            folder / "_cyclopts_zoo",
            dots / ".zshrc",
            f"fpath=('{folder}' $fpath)",
            compinit,
            "compinit",
        )
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    return _Place(config / "fish" / "completions" / "zoo.fish", None)
