"""nightcal on its own: the same catalogues again change nothing; a frame that no neighbour fits is held."""
import hashlib
import json
import shutil

import pytest


@pytest.fixture(scope="module")
def catalogues(nightshift, data, tmp_path_factory):
    if "nightcal" not in nightshift.verbs():
        pytest.skip("NO SUCH VERB IN THIS BUILD: nightcal")
    out = tmp_path_factory.mktemp("nightcal")
    raw = data / "arcsat-20250530-night"
    nightshift("master", raw, "--out", out, code=0)
    nightshift("reduce", raw, "--out", out, code=0)
    return sorted(out.glob("2*/arcsat/*_cat.fits"))


def sums(paths):
    return [hashlib.sha256(p.read_bytes()).hexdigest() for p in paths]


def test_twice_is_once(nightshift, catalogues, tmp_path):
    copies = [shutil.copy(p, tmp_path) for p in catalogues]
    paths = [tmp_path / p.name for p in catalogues]
    assert copies
    nightshift("nightcal", *paths, "--out", tmp_path / "a.json", code=0)
    first = sums(paths)
    assert first != sums(catalogues)
    (tmp_path / "list").write_text("".join(f"{p}\n" for p in paths))
    nightshift("nightcal", f"@{tmp_path / 'list'}", "--out", tmp_path / "b.json", code=0)
    assert sums(paths) == first
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_frame_without_neighbours_is_held(nightshift, catalogues, tmp_path):
    lonely = next(p for p in catalogues if "035719" in p.name)  # one of the four without coordinates
    shutil.copy(lonely, tmp_path)
    before = sums([tmp_path / lonely.name])
    result = nightshift.fails(3, "nightcal", tmp_path / lonely.name, "--out", tmp_path / "a.json", says="no sky coordinates")
    assert "held" in result.out
    frame = json.loads((tmp_path / "a.json").read_text())["frames"][0]
    assert frame["status"] == "held" and frame["wcs"] == "none" and frame["magzero"] is None
    assert sums([tmp_path / lonely.name]) == before


def test_nothing_and_rubbish_are_refused(nightshift, tmp_path):
    nightshift.fails(2, "nightcal", says="no catalogue")
    nightshift.fails(10, "nightcal", tmp_path / "absent.fits")
    nightshift.fails({2, 10}, "nightcal", f"@{tmp_path / 'absent'}", says="absent")
