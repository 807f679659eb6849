#!/bin/sh
# Rates of the catalogue on a private database of its own (fsync on, all indexes): ingest with several writers, the same inputs
# again, association, the same again. Arguments go to bench_ingest: WRITERS OBJECTS EPOCHS ROWS_PER_CCD NIGHTS SEED.
set -eu
cd "$(dirname "$0")/../.."
cmake --preset release >/dev/null
cmake --build --preset release --target nightshift bench_ingest -- --quiet
folder=$(mktemp -d /tmp/ns-bench-XXXXXX)
chmod 755 "$folder"
export NIGHTSHIFT_DB_DATA="$folder/db" DATABASE_URL=
trap 'DATABASE_URL= build/release/nightshift db down 2>/dev/null; rm -rf "$folder"' EXIT INT TERM
DATABASE_URL=$(build/release/nightshift db up 2>/dev/null)
export DATABASE_URL
echo "load $(cut -d ' ' -f 1 /proc/loadavg), $(nproc) CPUs; bars: ingest 150,000, association 50,000 rows/s"
build/release/tests/bench_ingest "$@"
