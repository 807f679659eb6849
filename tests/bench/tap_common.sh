# shellcheck shell=bash
# A private database with detections made by bench_ingest (OBJECTS EPOCHS NIGHTS), served on a free port. For tap_stream and tap_upload.
# Sets: folder, url, pid; database_cpu and server_cpu print seconds used so far. Everything goes when the script ends.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
prepare() { # OBJECTS EPOCHS NIGHTS
  cmake --preset release >/dev/null && cmake --build --preset release --target nightshift bench_ingest -- --quiet >/dev/null || exit 1
  folder=$(mktemp -d /tmp/ns-bench-XXXXXX); chmod 755 "$folder"
  export NIGHTSHIFT_DB_DATA="$folder/db" DATABASE_URL=
  pid=
  trap '[ -n "$pid" ] && kill "$pid" 2>/dev/null; DATABASE_URL= build/release/nightshift db down 2>/dev/null; rm -rf "$folder"' EXIT INT TERM
  DATABASE_URL=$(build/release/nightshift db up 2>/dev/null) || exit 1
  export DATABASE_URL
  build/release/tests/bench_ingest 2 "$1" "$2" 5000 "$3" 1 >"$folder/ingest.log" || exit 1
  psql -X -q "$DATABASE_URL" -c 'VACUUM ANALYZE'
  build/release/nightshift serve --serve-port 0 --url-file "$folder/url" --tap-folder "$folder/jobs" --tap-sync-limit 1h 2>"$folder/serve.log" &
  pid=$!
  for _ in $(seq 100); do [ -s "$folder/url" ] && break; sleep 0.1; done
  url=$(cat "$folder/url")
  echo "load $(cut -d ' ' -f 1 /proc/loadavg), $(nproc) CPUs; $1 objects x $2 epochs in $3 nights"
}
cpu_of() { awk '{s += ($14 + $15) / 100} END {printf "%.2f", s}' "$@"; }
server_cpu() { cpu_of "/proc/$pid/stat"; }
memory_peak() { awk '/VmHWM/ {printf "%.1f", $2 / 1024}' "/proc/$pid/status"; }
