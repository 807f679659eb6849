"""Print a page of docs/ written from a table in the source: `settings`, `exit-codes` or `tables` (tests/check-house --update)."""
import ast
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def settings():
    text = (ROOT / "common/settings_table.h").read_text()
    print("# Settings\n")
    print("Written from `common/settings_table.h` by `tests/check-house --update`; `nightshift VERB --print-settings` shows the "
          "values in use and where each comes from.\n")
    print("Strength, weakest first: built-in; instrument file; settings file (`--config`, `$NIGHTSHIFT_CONFIG`, `./nightshift.yaml`, "
          "`/etc/nightshift.yaml`, first found); environment; command line. `detect.thresh` is `detect: {thresh: 1.5}` in YAML, "
          "`NIGHTSHIFT_DETECT_THRESH` in the environment, `--detect-thresh 1.5` on the command line. **R** marks a setting that "
          "changes results: it is part of the recipe.")
    row = re.compile(r'^S\((\w+),\s*"([^"]*)",\s*"([^"]*)",\s*SETTING_(\w+),\s*"([^"]*)",\s*"([^"]*)",\s*([^,]+),\s*([^,]+),\s*'
                     r'([^,]+),\s*((?:"(?:[^"\\]|\\.)*"\s*)+)\)', re.S)
    for block in re.split(r"^(?=/\* -- )", text, flags=re.M)[1:]:
        title = re.match(r"/\* -- (.*?) -*\s*\*/", block, re.S)
        print(f"\n## {title.group(1).strip()}\n\n| setting | type | unit | default | range | R | meaning |\n|---|---|---|---|---|---|---|")
        for chunk in re.split(r"^(?=S\()", block, flags=re.M)[1:]:
            found = row.match(chunk)
            if not found:
                sys.exit(f"write_docs: cannot read the row {chunk.splitlines()[0]}")
            _, name, env, kind, unit, default, low, high, flags, words = found.groups()
            help_text = "".join(ast.literal_eval(part) for part in re.findall(r'"(?:[^"\\]|\\.)*"', words))
            if not help_text:
                sys.exit(f"write_docs: {name} has no help text")
            span = "" if low.strip() == high.strip() == "0" else f"{low.strip()} .. {high.strip()}"
            also = f" (`{env}`)" if env else ""
            cells = [f"`{name}`{also}", kind.lower(), unit, f"`{default}`" if default else "", span,
                     "R" if "RESULT" in flags else "", help_text.replace("|", "\\|")]
            print("| " + " | ".join(cells) + " |")


CODES = {  # what a reader, and a queue, should do
    "EXIT_ALL_GOOD": ("all good", "nothing"),
    "EXIT_BUG": ("a bug of ours", "report it with the last log line"),
    "EXIT_USAGE": ("usage or settings", "the line names the option, or the settings file and line"),
    "EXIT_PARTIAL": ("done, some inputs held or quarantined", "the lines before name them; the rest is complete"),
    "EXIT_INPUT": ("input unreadable or corrupt", "never retried: get the file again"),
    "EXIT_NO_CALIBRATION": ("no calibration serves the exposure", "make the master, or give one by name"),
    "EXIT_UNSUPPORTED": ("valid, but not something this program does", "never retried"),
    "EXIT_TRANSIENT": ("transient I/O, memory, disk full, or the database away", "the same call may succeed later"),
    "EXIT_INTERRUPTED": ("interrupted after a checkpoint", "the same call goes on where it stopped"),
    "EXIT_LEASE_LOST": ("somebody else owns the work now", "nothing: the other one finishes it"),
}


def exit_codes():
    text = (ROOT / "common/err.h").read_text()
    values, last = {}, -1
    for name, value in re.findall(r"^    (EXIT_\w+)(?: = (\d+))?,?", text, re.M):
        last = int(value) if value else last + 1
        values[name] = last
    if set(values) != set(CODES):
        sys.exit(f"write_docs: exit codes without a page entry: {sorted(set(values) ^ set(CODES))}")
    print("# Exit codes\n")
    print("Written from `common/err.h` by `tests/check-house --update`.\n")
    print("| code | meaning | what to do |\n|---|---|---|")
    for name, value in values.items():
        print(f"| {value} | {CODES[name][0]} | {CODES[name][1]} |")
    print("\nOne input gives its own code. Several give 0 when all are good, else the first of 2, 77, 75, 20 that occurs, else 3. "
          "Every failure ends in one line on stderr: file, HDU, cause, what to do.\n")
    print("| error | exit | meaning |\n|---|---|---|")
    for name, comment in re.findall(r"^    (ERR_\w+) = -?\d+,? *(?:/\* (.*?) *\*/)?$", text, re.M):
        if comment:
            meaning, code = re.match(r"(.*?)\s+exit (\d+)$", comment).groups()
            print(f"| `{name[4:].lower()}` | {code} | {meaning} |")


def tables():
    import yaml
    schema = yaml.safe_load((ROOT / "catalog/schema/schema.yaml").read_text())
    print("# Tables\n")
    print("Written from `catalog/schema/schema.yaml` by `tests/check-house --update`: what TAP, cone search and `/v1` publish. "
          "**P** principal, **I** indexed.")
    for group in schema["schemas"]:
        print(f"\n## {group['name']}\n\n{group['description']}")
        for table in group["tables"]:
            print(f"\n### {group['name']}.{table['name']}\n\n{table['description']}\n\n| column | type | unit | UCD | | meaning |\n|---|---|---|---|---|---|")
            for c in table["columns"]:
                marks = " ".join(m for m, key in (("P", "principal"), ("I", "indexed")) if c.get(key))
                print(f"| {c['name']} | {c['type']} | {c.get('unit', '')} | {c.get('ucd', '')} | {marks} | {c['description']} |".replace("|  |", "| |"))
    print("\n## Foreign keys\n\n| from | to | |\n|---|---|---|")
    for key in schema["keys"]:
        left = ", ".join(a for a, _ in key["columns"])
        right = ", ".join(b for _, b in key["columns"])
        print(f"| {key['from']} ({left}) | {key['to']} ({right}) | {key['description']} |")


{"settings": settings, "exit-codes": exit_codes, "tables": tables}[sys.argv[1]]()
