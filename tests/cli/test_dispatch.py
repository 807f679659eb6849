"""The front door: help, version, unknown verbs."""
import re


def test_help_lists_verbs_on_stdout(nightshift):
    result = nightshift("--help", code=0)
    assert "usage: nightshift VERB" in result.out and not result.err


def test_no_verb_is_a_usage_error(nightshift):
    assert "usage:" in nightshift(code=2).err


def test_unknown_verb_is_named(nightshift):
    nightshift.fails(2, "redcue", says="unknown verb 'redcue'")


def test_version_names_program_and_results(nightshift):
    assert re.fullmatch(r"nightshift \d+\.\d+\.\d+ \(results \w+\)\n", nightshift("--version", code=0).out)
