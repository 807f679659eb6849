/* Numbers as the shortest decimal text that reads back as the same number.
 *
 * Plain notation from 1e-4 to below 1e15, else "1.5e-07", "1e+20", as PostgreSQL writes them; "NaN", "Infinity", "-Infinity".
 * Threads: any; the table of powers is made once.
 * Source: R. Giulietti, "The Schubfach way to render doubles" (2020). Departures: the powers of ten are computed at first use
 * with 1200-bit integers instead of being compiled in; float uses the same 128-bit table as double.                  */
#ifndef NIGHTSHIFT_COMMON_DECIMAL_H
#define NIGHTSHIFT_COMMON_DECIMAL_H

#include <stddef.h>
#include <stdint.h>

#define DECIMAL_SIZE 32 /* room that is always enough; no terminating zero is written */

/* Returned: characters written. */
int decimal_of_double(double v, char *ret);
int decimal_of_float(float v, char *ret);
int decimal_of_int(int64_t v, char *ret);

#endif
