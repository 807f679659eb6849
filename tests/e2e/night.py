"""What the end-to-end tests of a night share: one database each, the run, and a fingerprint of the catalogue."""
import json
import os
import pathlib
import subprocess
import time
import urllib.request

# Natural keys and values, without surrogate ids, times and hosts.
FINGERPRINT = """
SELECT md5(coalesce(string_agg(line, E'\\n' ORDER BY line), '')) , count(*) FROM (
  SELECT concat_ws('|', 'det', e.instrument, e.exposure_key, c.ccd, r.recipe, d.det_id & 4194303, d.hpx29, d.ra, d.dec, d.mjd, d.x, d.y,
                   d.flux_auto, d.fluxerr_auto, d.flux_aper1, d.flux_aper2, d.fwhm, d.flags, d.imaflags) AS line
    FROM detection d JOIN ccd c ON c.exposure_id = det_exposure(d.det_id) AND c.ccd = det_ccd(d.det_id) AND c.recipe_id = d.recipe_id AND c.version = d.version
    JOIN exposure e ON e.exposure_id = c.exposure_id JOIN recipe r ON r.recipe_id = c.recipe_id
   WHERE c.published_at IS NOT NULL AND c.retired_at IS NULL
  UNION ALL
  SELECT concat_ws('|', 'ccd', e.instrument, e.exposure_key, c.ccd, r.recipe, c.version, c.raw_sha256, c.n_det, c.magzero, c.magzero_kind, c.quality)
    FROM ccd c JOIN exposure e USING (exposure_id) JOIN recipe r USING (recipe_id)
  UNION ALL
  SELECT concat_ws('|', 'obj', o.object_id, o.ra, o.dec, o.n_det, o.first_mjd, o.last_mjd) FROM object o
  UNION ALL
  SELECT concat_ws('|', 'ass', a.object_id, a.det_id, a.mjd, a.flux_auto) FROM association a) lines
"""

COUNTS = ["exposure", "ccd", "detection", "object", "association", "ingest_batch", "job_run", "job_image", "event"]


class Night:
    """One archive and one private database below `folder`."""

    def __init__(self, program, folder):
        self.program, self.folder = program, pathlib.Path(folder)
        self.out = self.folder / "archive"
        self.env = {"NIGHTSHIFT_DB_DATA": str(self.folder / "db"), "DATABASE_URL": ""}

    def run(self, raw, *options, code=0, timeout=300):
        return self.program("run", raw, "--out", self.out, *options, code=code, env=self.env, timeout=timeout)

    def start(self, raw, *options, log=None):
        """The same in the background."""
        argv = [str(self.program.path), "run", str(raw), "--out", str(self.out), *options]
        return subprocess.Popen(argv, env={**os.environ, **self.env, "LOG_FORMAT": "json"}, stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=log or subprocess.DEVNULL)

    def serve(self):
        (self.folder / "url").unlink(missing_ok=True)
        return subprocess.Popen([str(self.program.path), "serve", "--serve-port", "0", "--url-file", str(self.folder / "url")],
                                env={**os.environ, **self.env}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers(self, want_objects, seconds=30):
        """Does the service count the objects that the database holds?"""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                base = (self.folder / "url").read_text().strip()
                with urllib.request.urlopen(f"{base}/scs/object?RA=0&DEC=0&SR=180&VERB=1&RESPONSEFORMAT=csv&MAXREC=1000000", timeout=10) as answer:
                    return len(answer.read().decode().strip().splitlines()) - 1 == want_objects
            except OSError:
                time.sleep(0.1)
        return False

    def url(self):
        return self.program("db", "up", env=self.env, code=0).out.strip().splitlines()[-1]

    def sql(self, statement):
        done = subprocess.run(["psql", "-X", "-q", "-A", "-t", "-F", "\x1f", "-v", "ON_ERROR_STOP=1", self.url()], input=statement,
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return [line.split("\x1f") for line in done.stdout.splitlines()]

    def fingerprint(self):
        return tuple(self.sql(FINGERPRINT)[0])

    def counts(self):
        return {t: int(self.sql(f"SELECT count(*) FROM {t}")[0][0]) for t in COUNTS}

    def outcomes(self):
        return dict(self.sql("SELECT coalesce(outcome, 'open'), count(*) FROM job_image GROUP BY 1"))

    def report(self):
        path = max((self.out / "quality").glob("run*.json"))
        return json.loads(path.read_text())

    def down(self):
        self.program("db", "down", env=self.env)


def simulate(program, folder, *options):
    """A small night, the same every time. Returned: the folder of its raw frames."""
    program("simulate", folder, "--preset", "small-night", *options, code=0, timeout=120)
    raw = pathlib.Path(folder) / "raw"
    return raw if raw.is_dir() else pathlib.Path(folder)
