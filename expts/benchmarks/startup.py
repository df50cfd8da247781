"""Time from the command to its help page, and what `import graphium` brings in.

python expts/benchmarks/startup.py
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from timing import interleave, report

COMMANDS = {"graphium-train --help": "graphium.cli.train", "graphium --help": "graphium.cli.main"}
HELP = "import sys; sys.argv = ['graphium', '--help']; from {module} import main; main()"


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True).stderr


def brings_in(code: str, module: str) -> bool:
    return any(line.rsplit("|", 1)[-1].strip() == module for line in run(code).splitlines())


def main() -> None:
    for name, module in COMMANDS.items():
        code = HELP.format(module=module)
        seconds = interleave({"page": partial(run, code), "bare interpreter": partial(run, "pass")})
        report(name, seconds["page"], 1.0, at_least=False, unit="s")
        print(f"  bare interpreter {seconds['bare interpreter']:.3f} s; imports torch: {brings_in(code, 'torch')}")
    print(f"import graphium imports torch: {brings_in('import graphium', 'torch')}")


if __name__ == "__main__":
    main()
