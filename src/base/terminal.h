// SPDX-License-Identifier: Apache-2.0
// What the log and the progress bars share: standard error.
#ifndef GAMUT_BASE_TERMINAL_H
#define GAMUT_BASE_TERMINAL_H

#include <stdbool.h>

// Held while something is written to standard error, so that lines of several threads stay whole.
void gm__terminal_lock(void);
void gm__terminal_unlock(void);
// Under the lock: a bar is on the last line and must be wiped before anything else is written there.
void gm__terminal_wipe_bar(void);
void gm__terminal_bar_drawn(bool drawn);

#endif
