"""inspect: what a file holds, told of raw frames, masters and products alike."""


def test_inspect__raw_frames_masters_and_products(verb, tmp_path):
    program = verb("simulate", "master", "reduce", "inspect")
    program("simulate", tmp_path / "night", "--preset", "small-night", "--ccds", "2", "--amps", "4", "--frames", "1", code=0)
    program("master", tmp_path / "night/raw", "--out", tmp_path / "out", code=0)
    program("reduce", tmp_path / "night/raw", "--out", tmp_path / "out", code=0)
    raw = next((tmp_path / "night/raw").glob("*light*"))
    assert "meaning of HDU" in program("inspect", raw, code=0).out
    for path in [*(tmp_path / "out/masters").glob("*.fits*"), *(tmp_path / "out").rglob("*_cal.fits.fz")]:
        assert path.name in program("inspect", path, code=0).out
