-- The name of this database's own folder below tap.folder: two databases may share tap.folder and never see each other's files.
CREATE TABLE uws_store (
    one              boolean PRIMARY KEY DEFAULT true CHECK (one),
    name             text NOT NULL DEFAULT substr(replace(gen_random_uuid()::text, '-', ''), 1, 16)
);
INSERT INTO uws_store DEFAULT VALUES;
