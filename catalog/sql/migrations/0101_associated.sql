-- When the detections of a CCD were last matched to objects; NULL: not yet (a kill between ingest and association).
ALTER TABLE ccd ADD associated_at timestamptz;
CREATE INDEX ccd_unassociated ON ccd (night) WHERE associated_at IS NULL;
