"""Reads the small faults of ``faults.txt``, which says how they are written."""

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("faults.txt")


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes:
        package: Folder of the package, from the repository's root.
        old: A piece of its source.
        new: What stands there instead.
        test: File, or ``file::function``, of which a test must fail, from the repository's root.
        is_sample: Whether the normal suite plants it, too.
    """

    package: str
    old: str
    new: str
    test: str
    is_sample: bool = False

    def __str__(self) -> str:
        return f"{Path(self.package).name}: {self.old} -> {self.new}"

    def find_module(self) -> Path:
        """Return the module in which the snippet stands; modules may be moved and cut.

        Raises:
            ValueError: If it does not stand there exactly once.
        """
        modules = sorted((ROOT / self.package).rglob("*.py"))
        counts = {path: path.read_text(encoding="utf-8").count(self.old) for path in modules}
        found = [path for path, n in counts.items() for _ in range(n)]
        if len(found) != 1:
            raise ValueError(
                f"{TABLE.name}: {self.old!r} stands {len(found)} times in {self.package}; expected"
                " once: write what the source says now, or make it longer until it is unique"
            )
        return found[0]


def read_table(text: str) -> list[Mutant]:
    """Return the faults of a table, in its order.

    Raises:
        ValueError: If a line begins with something else, or a fault is not whole.
    """
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    mutants: list[Mutant] = []
    package = test = old = ""
    is_sample = False
    for mark, group in groupby(lines, key=lambda line: line[0]):
        words = [line[2:] for line in group]
        if mark == "=":
            package, test = words[-1].replace(".", "/"), ""
        elif mark == "@":
            test = words[-1]
        elif mark == "*":
            is_sample = True
        elif mark == "-":
            old = "\n".join(words)
        elif mark == "+" and package and test and old:
            mutants.append(Mutant(package, old, "\n".join(words), test, is_sample))
            old, is_sample = "", False
        else:
            raise ValueError(f"{TABLE.name}: {mark} {words[0]!r} has no place there")
    return mutants


MUTANTS = read_table(TABLE.read_text(encoding="utf-8"))
