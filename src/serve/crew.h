// SPDX-License-Identifier: Apache-2.0
// The worker processes: told what to run through a mailbox in shared memory and an eventfd; killed and replaced when they die or
// hang. A worker has one thread. They are forked from the server, which holds the loaded model and an executor that has run
// before: a new worker is ready as soon as it exists, and what nobody writes to is in memory once.
#ifndef GAMUT_SERVE_CREW_H
#define GAMUT_SERVE_CREW_H

#include "serve/slab.h"
#include <gamut/serve.h>

#include <sys/types.h>

typedef struct gm__mailbox { // shared with one worker
    int64_t started_ns, finished_ns;
    int32_t subnet, images;
    int32_t slot[]; // [largest batch]
} gm__mailbox;

typedef enum gm__worker_state { GM__WORKER_DEAD, GM__WORKER_STARTING, GM__WORKER_IDLE, GM__WORKER_BUSY } gm__worker_state;
typedef struct gm__worker {
    gm__worker_state state;
    bool doomed; // killed, to be reaped
    pid_t pid;
    int pid_fd, job_fd, done_fd; // -1: none
    gm__mailbox *box;
    int64_t since_ns, kill_ns, restart_ns; // of the state; when it counts as hung; when a dead one is started again
    uint64_t batches;
    int restarts, failures; // failures: in a row, without one batch
} gm__worker;

typedef struct gm__crew {
    const gm_serve_backend *backend;
    void *executor; // the server's own: workers run on their copies
    gm_serve_image *image; // [largest], likewise
    float **logits;
    const gm__slab *slab;
    gm__worker *worker;
    int workers, largest;
    bool pin;
    int64_t hang_ns;
    uint8_t *boxes; // shared mapping
    size_t boxes_bytes, box_bytes;
} gm__crew;

gm_status gm__crew_init(gm__crew *c, int workers, int largest, const gm_serve_backend *backend, const gm__slab *slab, bool pin,
                        int64_t hang_ns, gm_error *err);
void gm__crew_fini(gm__crew *c); // kills and reaps all
gm_status gm__crew_start(gm__crew *c, int i, int64_t now_ns, gm_error *err); // a dead one
// Slots and subnet of the batch were written to the box.
void gm__crew_run(gm__crew *c, int i, int64_t now_ns, int64_t due_ns);
// Whether worker i has reported since the last call (ready, or its batch done).
bool gm__crew_reported(gm__crew *c, int i);
// Kills what hangs. Whether worker i is gone; then it is dead, its descriptors are closed, and restart_ns is set.
bool gm__crew_gone(gm__crew *c, int i, int64_t now_ns);

int64_t gm__now_ns(void);

#endif
