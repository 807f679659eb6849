#include "pipeline/interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t asked; /* the one thing a handler may write */

static void on_signal(int number)
{
    (void)number;
    asked = 1;
}

void interrupt_watch(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool interrupt_asked(void)
{
    return asked != 0;
}
