-- TAP_SCHEMA (TAP 1.1, section 4): filled from catalog/schema/schema.yaml by `db migrate`, never by hand.
CREATE SCHEMA tap_schema;

CREATE TABLE tap_schema.schemas (
    schema_name      text PRIMARY KEY,
    utype            text,
    description      text,
    schema_index     integer
);
CREATE TABLE tap_schema.tables (
    schema_name      text NOT NULL REFERENCES tap_schema.schemas,
    table_name       text PRIMARY KEY,
    table_type       text NOT NULL CHECK (table_type IN ('table', 'view')),
    utype            text,
    description      text,
    table_index      integer
);
CREATE TABLE tap_schema.columns (
    table_name       text NOT NULL REFERENCES tap_schema.tables,
    column_name      text NOT NULL,
    datatype         text NOT NULL,
    arraysize        text,
    xtype            text,
    "size"           integer,
    description      text,
    utype            text,
    unit             text,
    ucd              text,
    principal        integer NOT NULL CHECK (principal IN (0, 1)),
    indexed          integer NOT NULL CHECK (indexed IN (0, 1)),
    std              integer NOT NULL CHECK (std IN (0, 1)),
    column_index     integer,
    PRIMARY KEY (table_name, column_name)
);
CREATE TABLE tap_schema.keys (
    key_id           text PRIMARY KEY,
    from_table       text NOT NULL REFERENCES tap_schema.tables,
    target_table     text NOT NULL REFERENCES tap_schema.tables,
    utype            text,
    description      text
);
CREATE TABLE tap_schema.key_columns (
    key_id           text NOT NULL REFERENCES tap_schema.keys,
    from_column      text NOT NULL,
    target_column    text NOT NULL,
    PRIMARY KEY (key_id, from_column)
);

-- Checksum of the schema file TAP_SCHEMA was filled from.
CREATE TABLE schema_published (
    sha256           text PRIMARY KEY,
    published_at     timestamptz NOT NULL DEFAULT now()
);

CREATE VIEW published_exposure AS
    SELECT e.* FROM exposure e
     WHERE EXISTS (SELECT FROM ccd c WHERE c.exposure_id = e.exposure_id AND c.published_at IS NOT NULL AND c.retired_at IS NULL);
