// SPDX-License-Identifier: Apache-2.0
// A team runs one member function on several threads at once.
#ifndef GAMUT_BASE_TEAM_H
#define GAMUT_BASE_TEAM_H

typedef void gm__member(void *context, int worker, int workers);

// Runs member with worker = 0..n-1 and workers = n, where n <= workers is what could be started;
// returns when all are done. The caller's thread is one of them.
void gm__team_run(int workers, gm__member *member, void *context);

#endif
