/* SIGINT and SIGTERM: the work in flight is finished, no new work begins, the verb ends with exit code 75. */
#ifndef NIGHTSHIFT_PIPELINE_INTERRUPT_H
#define NIGHTSHIFT_PIPELINE_INTERRUPT_H

#include <stdbool.h>

void interrupt_watch(void);   /* once, at the start of a verb; a second signal ends the program at once */
bool interrupt_asked(void);   /* any thread */

#endif
