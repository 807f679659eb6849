-- Reference stars of other catalogues (`refcat add`), exported for `reduce --refs`.

-- One catalogue in one version; files of it may come one after the other, each once.
CREATE TABLE refcat (
    refcat_id        smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    release          text NOT NULL UNIQUE,               -- "gaia_dr3"
    bands            text[] NOT NULL,                    -- of refstar.mags, in this order
    n_star           bigint NOT NULL DEFAULT 0,
    pm_max           double precision NOT NULL DEFAULT 0,-- mas/yr, of the fastest star: how far a cone must look
    epoch_min        double precision,                   -- Julian years
    epoch_max        double precision,
    changed_at       timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE refcat_file (
    refcat_id        smallint NOT NULL REFERENCES refcat ON DELETE CASCADE,
    sha256           text NOT NULL CHECK (length(sha256) = 64),
    source           text NOT NULL,                      -- name of the file, or the URL
    n_star           bigint NOT NULL,
    added_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (refcat_id, sha256)
);
CREATE TABLE refstar (
    refcat_id        smallint NOT NULL REFERENCES refcat ON DELETE CASCADE,
    hpx29            bigint NOT NULL,
    source_id        bigint NOT NULL,
    ra               double precision NOT NULL,          -- deg, ICRS, at epoch
    dec              double precision NOT NULL CHECK (dec BETWEEN -90 AND 90),
    epoch            double precision NOT NULL,          -- Julian year
    ra_error         real NOT NULL,                      -- mas, with cos dec
    dec_error        real NOT NULL,
    pmra             real,                               -- mas/yr, with cos dec
    pmdec            real,
    pmra_error       real,
    pmdec_error      real,
    parallax         real,                               -- mas
    bp_rp            real,                               -- mag
    mags             real[] NOT NULL,                    -- of refcat.bands; NULL elements where unknown
    PRIMARY KEY (hpx29, refcat_id, source_id)
);

CREATE VIEW published_refstar AS
    SELECT r.release, s.source_id, s.hpx29, s.ra, s.dec, s.epoch, s.ra_error, s.dec_error, s.pmra, s.pmdec, s.parallax,
           s.mags[array_position(r.bands, 'phot_g_mean_mag')] AS phot_g_mean_mag, s.bp_rp
      FROM refstar s JOIN refcat r USING (refcat_id);
