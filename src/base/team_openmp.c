// SPDX-License-Identifier: Apache-2.0
#include "team.h"
#include <omp.h>

void gm__team_run(int workers, gm__member *member, void *context) {
#pragma omp parallel num_threads(workers)
    member(context, omp_get_thread_num(), omp_get_num_threads());
}
