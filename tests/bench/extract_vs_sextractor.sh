#!/bin/sh
# Time `nightshift extract` and `source-extractor` on the same 4096 x 4096 image, one core, same .sex and .param of 32 columns.
#   tests/bench/extract_vs_sextractor.sh [PRESET] [RUNS]      PRESET: bench-sparse, bench-medium (default), bench-crowded
# Prints user + system seconds and wall seconds of the best of RUNS (default 5) runs of each, and the ratio. The bar is 8.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
program=${NIGHTSHIFT_PROGRAM:-$root/build/release/nightshift}
preset=${1:-bench-medium}
runs=${2:-5}
share=/usr/share/source-extractor
work=$root/build/bench/vs-$preset
mkdir -p "$work"
cd "$work"
[ -f field/image.fits ] || "$program" simulate field --preset "$preset" 2>simulate.log
cat > a.param <<END
NUMBER
X_IMAGE
Y_IMAGE
XWIN_IMAGE
YWIN_IMAGE
ERRAWIN_IMAGE
ERRBWIN_IMAGE
ERRTHETAWIN_IMAGE
ALPHA_J2000
DELTA_J2000
ALPHAWIN_J2000
DELTAWIN_J2000
FLUX_ISO
FLUXERR_ISO
FLUX_AUTO
FLUXERR_AUTO
MAG_AUTO
MAGERR_AUTO
KRON_RADIUS
FLUX_APER(3)
FLUXERR_APER(3)
MAG_APER(3)
FLUX_RADIUS
FLUX_MAX
ISOAREA_IMAGE
A_IMAGE
B_IMAGE
THETA_IMAGE
FWHM_IMAGE
SNR_WIN
CLASS_STAR
FLAGS
END
cat > a.sex <<END
PARAMETERS_NAME a.param
CATALOG_TYPE FITS_LDAC
FILTER_NAME $share/default.conv
STARNNW_NAME $share/default.nnw
PHOT_APERTURES 5,10,20
SEEING_FWHM 1.0
PIXEL_SCALE 0.4
SATUR_LEVEL 60000
MEMORY_PIXSTACK 3000000
MEMORY_OBJSTACK 30000
VERBOSE_TYPE QUIET
END

export OMP_NUM_THREADS=1
# best NAME COMMAND...: "CPU WALL" of the run with the least CPU time
best() {
    name=$1
    shift
    i=0
    : > "$name.times"
    while [ $i -lt "$runs" ]; do
        /usr/bin/time -f '%U %S %e' -o one.time taskset -c 0 "$@" 2>"$name.log"
        tail -n 1 one.time >> "$name.times"
        i=$((i + 1))
    done
    awk '{ c = $1 + $2; if (NR == 1 || c < cpu) { cpu = c; wall = $3 } } END { printf "%.2f %.2f", cpu, wall }' "$name.times"
}
theirs=$(best theirs source-extractor field/image.fits -c a.sex -CATALOG_NAME theirs.cat)
ours=$(best ours "$program" extract field/image.fits -c a.sex -o ours.cat)
default=$(best default "$program" extract field/image.fits -o default.cat --threads 1)
rows() { /usr/bin/python3 -c 'import sys; from astropy.io import fits; print(fits.getheader(sys.argv[1], 2)["NAXIS2"])' "$1"; }
printf '%s, 4096 x 4096, one core, 32 columns; CPU and wall seconds, best of %s\n' "$preset" "$runs"
printf '  source-extractor    %s   %s objects\n' "$theirs" "$(rows theirs.cat)"
printf '  nightshift extract  %s   %s objects\n' "$ours" "$(rows ours.cat)"
printf '  its own defaults    %s   %s objects\n' "$default" "$(rows default.cat)"
echo "$theirs $ours" | awk '{ printf "  %.1f x in CPU, %.1f x in wall time\n", $1 / $3, $2 / $4 }'
