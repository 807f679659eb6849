"""What may come of a bad input: a right result, or one clear line and its exit code; never a crash, never half a product."""
import json
import pathlib
import subprocess

# Exit codes a damaged, foreign or lonely input may end in (docs/exit-codes.md). 1 is a bug, 2 would blame the command line.
HONEST = {0, 3, 10, 11, 12}

# No header, however absurd, makes the program ask for this much. ASan maps terabytes of shadow: it runs without the ceiling.
ADDRESS_SPACE = 6 * 1024**3


def events(result):
    """The JSON events of a run; every line of stderr is one."""
    found = []
    for line in result.err.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError as problem:
            raise AssertionError(f"not a JSON event: {line!r}\n{result.explain()}") from problem
    return found


def products(folder):
    return sorted(str(p.relative_to(folder)) for p in pathlib.Path(folder).rglob("*") if not p.is_dir())


def command(verb, path, out, extra=()):
    """The command line that puts one file through a verb, products going below `out`."""
    out = pathlib.Path(out)
    return {
        "scan": ["scan", path, *extra],
        "inspect": ["inspect", path, *extra],
        "extract": ["extract", path, "-o", out / "x_cat.fits", *extra],
        "reduce": ["reduce", path, "--out", out, "--without", "bias,dark,flat", *extra],
        "reduce_with_masters": ["reduce", path, "--out", out, *extra],
        "master": ["master", path, "--out", out, *extra],
    }[verb]


def run(program, verb, path, out, codes=HONEST, extra=(), says=None, **options):
    """Run one verb over one input and check everything that must hold. Returned: the result."""
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    before = products(out)
    prefix = list(options.pop("prefix", ()))
    if not program.sanitized:
        prefix = ["prlimit", f"--as={ADDRESS_SPACE}", *prefix]
    try:
        result = program(*command(verb, path, out, extra), env={"LOG_FORMAT": "json", **options.pop("env", {})}, prefix=prefix,
                         code=codes, **options)
    except subprocess.TimeoutExpired as late:
        raise AssertionError(f"{verb} {path}: no answer within {late.timeout} s") from late
    errors = [e for e in events(result) if e.get("level") == "error"]
    for event in errors:
        line = event["message"]
        assert line.isprintable() and len(line) < 1500, f"not one clear line: {line!r}\n{result.explain()}"
    if result.code != 0 and verb != "scan":
        assert errors, f"exit {result.code} without a word\n{result.explain()}"
        assert len(errors) <= 2, f"{len(errors)} error lines for one input\n{result.explain()}"
        name = pathlib.Path(path).name
        assert any(name in json.dumps(e, ensure_ascii=False) for e in errors), f"the file is not named\n{result.explain()}"
        # 3 says that a part of the input, one CCD of two, is done: that part stays.
        assert result.code == 3 or products(out) == before, f"left behind: {sorted(set(products(out)) - set(before))}\n{result.explain()}"
    if says:
        text = result.out + result.err
        assert says in text, f"'{says}' is not said\n{result.explain()}"
    for left in products(out):
        name = pathlib.Path(left).name
        assert not name.startswith(".") and ".tmp" not in name, f"a temporary file stays: {left}\n{result.explain()}"
    return result


def collect(cases):
    """Run each (name, function); one assertion at the end names all that failed."""
    failures = []
    for name, case in cases:
        try:
            result = case()
            print(f"{name:60s} exit {result.code}")
        except AssertionError as problem:
            failures.append(f"---- {name}\n{problem}")
            print(f"{name:60s} FAILED")
    assert not failures, f"{len(failures)} failed\n" + "\n".join(failures[:12])
