// SPDX-License-Identifier: Apache-2.0
// Short turns on the processor for a thread that waits for events: it asks for little time, so that it gets it soon.
#ifndef GAMUT_SERVE_TURNS_H
#define GAMUT_SERVE_TURNS_H

#include <stdint.h>

typedef struct gm__turns {
    uint64_t before_ns;
    int known; // 0: nothing was changed
} gm__turns;
gm__turns gm__turns_short(void);     // of the calling thread; processes that it forks have ordinary ones
void gm__turns_restore(gm__turns t);

#endif
