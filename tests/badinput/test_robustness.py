"""Every file of the robustness collection through every verb that takes a file."""
import pytest

import outcome


@pytest.mark.parametrize("name", ["scan", "inspect", "extract", "reduce", "master"])
def test_robustness__every_file_ends_well(verb, data, tmp_path, name):
    program = verb(name)
    files = sorted(p for p in (data / "robustness").rglob("*") if p.is_file() and p.name != "SOURCE.txt")
    assert len(files) > 50
    outcome.collect(
        (str(path.relative_to(data)), lambda path=path, i=i: outcome.run(program, name, path, tmp_path / str(i)))
        for i, path in enumerate(files))


def test_robustness__scan_of_the_whole_folder_accounts_for_each_file(verb, data, tmp_path):
    """One scan over everything: a file more or less is an error of ours, a refused file is named."""
    result = verb("scan")("scan", data / "robustness", "--json", code={0, 3, 10}, timeout=300)
    missing = [p.name for p in (data / "robustness").rglob("*.fit*") if p.is_file() and p.name not in result.out + result.err]
    assert not missing, f"not mentioned: {missing}\n{result.explain()}"
