// SPDX-License-Identifier: Apache-2.0
// Threads are started for each call: slow, simple, and every hand-over is visible to ThreadSanitizer.
#include "team.h"
#include <pthread.h>
#include <stdbool.h>

enum { MOST_WORKERS = 256 };

typedef struct seat {
    gm__member *member;
    void *context;
    int worker;
    int workers;
    pthread_t thread;
    bool started;
} seat;

static void *sit(void *argument) {
    seat *s = argument;
    s->member(s->context, s->worker, s->workers);
    return NULL;
}

void gm__team_run(int workers, gm__member *member, void *context) {
    seat seats[MOST_WORKERS];
    if (workers > MOST_WORKERS) workers = MOST_WORKERS;
    for (int i = 0; i < workers; i++)
        seats[i] = (seat){.member = member, .context = context, .worker = i, .workers = workers};
    for (int i = 1; i < workers; i++)
        seats[i].started = pthread_create(&seats[i].thread, NULL, sit, &seats[i]) == 0;
    sit(&seats[0]);
    // A thread that could not be started: its share is done here.
    for (int i = 1; i < workers; i++) {
        if (!seats[i].started) sit(&seats[i]);
    }
    for (int i = 1; i < workers; i++) {
        if (seats[i].started) pthread_join(seats[i].thread, NULL);
    }
}
