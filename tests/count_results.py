"""Sum the result files of one ./run-tests into `N passed, N failed, N skipped`, the last line printed.

ctest counts programs; a cmocka program holds many tests, so its cases are counted from its output. `stages` holds one
line (`passed NAME` or `failed NAME`) for each step that is a test of its own. Exit 1 on a failure or when nothing ran.
"""
import pathlib
import re
import sys
import xml.etree.ElementTree as ET

CASE = re.compile(r"^\[ +(OK|FAILED|SKIPPED|ERROR) +\] (\S+)$", re.M)


def read_xml(path):
    # Programs under test may print bytes that XML 1.0 does not allow.
    text = path.read_bytes().decode("utf-8", "replace")
    return ET.fromstring(re.sub("[^\t\n\r -\uD7FF\uE000-\uFFFD]", "?", text))


def ctest_cases(path):
    """Yield (outcome, name) for each case of each program."""
    for case in read_xml(path).iter("testcase"):
        name, status = case.get("name"), case.get("status")
        found = {kind: set() for kind in ("OK", "FAILED", "SKIPPED", "ERROR")}
        for kind, what in CASE.findall(case.findtext("system-out") or ""):
            found[kind].add(what)
        bad = found["FAILED"] | found["ERROR"]
        for what in sorted(found["OK"]):
            yield "passed", f"{name}: {what}"
        for what in sorted(found["SKIPPED"] - bad):
            yield "skipped", f"{name}: {what}"
        for what in sorted(bad):
            yield "failed", f"{name}: {what}"
        if status == "run" and not any(found.values()):
            yield "passed", name
        elif status == "fail" and not bad:
            yield "failed", name
        elif status in ("notrun", "disabled"):
            yield "skipped" if case.find("skipped") is not None and "SKIP" in str(case.find("skipped").get("message")) \
                else "failed", name


def pytest_cases(path):
    for case in read_xml(path).iter("testcase"):
        name = f'{case.get("classname")}::{case.get("name")}'
        if case.find("failure") is not None or case.find("error") is not None:
            yield "failed", name
        elif case.find("skipped") is not None:
            yield "skipped", name
        else:
            yield "passed", name


def main(folder):
    folder = pathlib.Path(folder)
    outcomes = {"passed": [], "failed": [], "skipped": []}
    for path in sorted(folder.glob("*.xml")):
        cases = ctest_cases(path) if path.name.endswith(".ctest.xml") else pytest_cases(path)
        try:
            for outcome, name in cases:
                outcomes[outcome].append(f"{path.name.split('.')[0]}: {name}")
        except ET.ParseError as problem:
            outcomes["failed"].append(f"{path.name} cannot be read: {problem}")
    stages = folder / "stages"
    for line in stages.read_text().splitlines() if stages.exists() else []:
        outcome, name = line.split(maxsplit=1)
        # A failed stage whose failed tests are listed already is not counted twice.
        if not any(test.startswith(name + ": ") for test in outcomes["failed"]):
            outcomes[outcome].append(name)
    for outcome in ("skipped", "failed"):
        for name in outcomes[outcome]:
            print(f"{outcome.upper()} {name}")
    counts = {outcome: len(names) for outcome, names in outcomes.items()}
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**counts))
    if counts["failed"]:
        return 1
    return 0 if counts["passed"] else 1


sys.exit(main(sys.argv[1]))
