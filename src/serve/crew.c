// SPDX-License-Identifier: Apache-2.0
#include "serve/crew.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { JOB_FD = 3, DONE_FD = 4, START_SECONDS = 60, HANG_TIMES = 20 };
static const int64_t SECOND = 1000000000;

int64_t gm__now_ns(void) { return (int64_t)(gm_now() * 1e9); }

// ---------------------------------------------------------------------------------------------
// In the worker
static void pin_to(int i) {
    cpu_set_t all, one;
    if (sched_getaffinity(0, sizeof all, &all) != 0 || CPU_COUNT(&all) == 0) return;
    int wanted = i % CPU_COUNT(&all);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &all) || wanted-- > 0) continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        sched_setaffinity(0, sizeof one, &one);
        return;
    }
}

static void report(void) {
    uint64_t one = 1;
    while (write(DONE_FD, &one, sizeof one) < 0 && errno == EINTR) {}
}

static void run_batch(const gm__crew *c, gm__mailbox *box) {
    for (int k = 0; k < box->images; k++) {
        const gm__image *m = gm__slab_image(c->slab, box->slot[k]);
        c->image[k] = (gm_serve_image){m->height, m->width, m->channels, m->pixels, gm__slab_values(c->slab, box->slot[k])};
        c->logits[k] = gm__slab_logits(c->slab, box->slot[k]);
    }
    box->started_ns = gm__now_ns();
    c->backend->run(c->executor, box->subnet, box->images, c->image, c->logits);
    box->finished_ns = gm__now_ns();
}

static int worker_main(const gm__crew *c, int i, gm__mailbox *box) {
    gm_threads_set(1);
    if (c->pin) pin_to(i);
    report();
    for (;;) {
        uint64_t jobs = 0;
        ssize_t n = read(JOB_FD, &jobs, sizeof jobs);
        if (n < 0 && errno == EINTR) continue;
        if (n != (ssize_t)sizeof jobs) return 0;
        atomic_thread_fence(memory_order_acquire);
        run_batch(c, box);
        atomic_thread_fence(memory_order_release);
        report();
    }
}

// Nothing of the server stays in a worker: no connection, no handler, no terminal's Ctrl-C (the server decides when it ends).
static _Noreturn void become_worker(const gm__crew *c, int i, pid_t server, int job_fd, int done_fd) {
    sigset_t none;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != server) _exit(1);
    for (int number = 1; number < 32; number++) signal(number, SIG_DFL);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int job = fcntl(job_fd, F_DUPFD, 16), done = fcntl(done_fd, F_DUPFD, 16);
    if (job < 0 || done < 0 || dup2(job, JOB_FD) < 0 || dup2(done, DONE_FD) < 0) _exit(1);
    if (syscall(SYS_close_range, DONE_FD + 1, ~0u, 0) != 0)
        for (int fd = DONE_FD + 1; fd < 65536; fd++) close(fd);
    _exit(worker_main(c, i, c->worker[i].box));
}

// ---------------------------------------------------------------------------------------------
// In the server
gm_status gm__crew_init(gm__crew *c, int workers, int largest, const gm_serve_backend *backend, const gm__slab *slab, bool pin,
                        int64_t hang_ns, gm_error *err) {
    *c = (gm__crew){.backend = backend, .slab = slab, .workers = workers, .largest = largest, .pin = pin, .hang_ns = hang_ns};
    c->box_bytes = (sizeof(gm__mailbox) + (size_t)largest * sizeof(int32_t) + 63) / 64 * 64;
    c->boxes_bytes = c->box_bytes * (size_t)workers;
    c->worker = gm_alloc((size_t)workers, sizeof *c->worker);
    c->image = gm_alloc((size_t)largest, sizeof *c->image);
    c->logits = gm_alloc((size_t)largest, sizeof *c->logits);
    if (!c->worker || !c->image || !c->logits) return gm_fail(err, GM_ERR_MEMORY, "no memory for %d workers", workers);
    void *boxes = mmap(NULL, c->boxes_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (boxes == MAP_FAILED) return gm_fail(err, GM_ERR_MEMORY, "no memory to share with %d workers", workers);
    c->boxes = boxes;
    for (int i = 0; i < workers; i++) {
        gm__worker *w = &c->worker[i];
        w->box = (gm__mailbox *)(void *)(c->boxes + (size_t)i * c->box_bytes);
        w->pid_fd = w->job_fd = w->done_fd = -1;
    }
    int threads = gm_threads(); // threads do not survive a fork: the executor has none but its caller's
    gm_threads_set(1);
    gm_status status = backend->open(backend->context, largest, &c->executor, err);
    gm_threads_set(threads);
    return status;
}

static void close_all(gm__worker *w) {
    int *fds[] = {&w->pid_fd, &w->job_fd, &w->done_fd};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        if (*fds[i] >= 0) close(*fds[i]);
        *fds[i] = -1;
    }
}

void gm__crew_fini(gm__crew *c) {
    for (int i = 0; i < c->workers && c->worker != NULL; i++) {
        gm__worker *w = &c->worker[i];
        if (w->state == GM__WORKER_DEAD) continue;
        kill(w->pid, SIGKILL);
        while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR) {}
        close_all(w);
    }
    if (c->executor != NULL && c->backend->close != NULL) c->backend->close(c->executor);
    if (c->boxes != NULL) munmap(c->boxes, c->boxes_bytes);
    gm_free(c->worker);
    gm_free(c->image);
    gm_free(c->logits);
    *c = (gm__crew){0};
}

gm_status gm__crew_start(gm__crew *c, int i, int64_t now_ns, gm_error *err) {
    gm__worker *w = &c->worker[i];
    pid_t self = getpid();
    memset(w->box, 0, sizeof *w->box);
    w->job_fd = eventfd(0, EFD_CLOEXEC);
    w->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->job_fd < 0 || w->done_fd < 0) goto failed;
    w->pid = fork();
    if (w->pid == 0) become_worker(c, i, self, w->job_fd, w->done_fd);
    if (w->pid < 0) goto failed;
    w->pid_fd = (int)syscall(SYS_pidfd_open, w->pid, 0); // without it deaths are noticed by the next sweep
    w->state = GM__WORKER_STARTING;
    w->doomed = false;
    w->since_ns = now_ns;
    w->kill_ns = now_ns + START_SECONDS * SECOND;
    return GM_OK;
failed:
    gm_fail(err, GM_ERR_IO, "worker %d cannot be started: %s", i, strerror(errno));
    close_all(w);
    w->restart_ns = now_ns + SECOND;
    return GM_ERR_IO;
}

void gm__crew_run(gm__crew *c, int i, int64_t now_ns, int64_t due_ns) {
    gm__worker *w = &c->worker[i];
    int64_t limit = (due_ns - now_ns) * HANG_TIMES;
    w->state = GM__WORKER_BUSY;
    w->since_ns = now_ns;
    w->kill_ns = now_ns + (limit > c->hang_ns ? limit : c->hang_ns);
    atomic_thread_fence(memory_order_release);
    uint64_t one = 1;
    while (write(w->job_fd, &one, sizeof one) < 0 && errno == EINTR) {}
}

bool gm__crew_reported(gm__crew *c, int i) {
    gm__worker *w = &c->worker[i];
    uint64_t count = 0;
    if (w->done_fd < 0 || read(w->done_fd, &count, sizeof count) != (ssize_t)sizeof count) return false;
    atomic_thread_fence(memory_order_acquire);
    if (w->state == GM__WORKER_BUSY) {
        w->batches++;
        w->failures = 0;
    }
    w->state = GM__WORKER_IDLE;
    w->kill_ns = INT64_MAX;
    return true;
}

bool gm__crew_gone(gm__crew *c, int i, int64_t now_ns) {
    gm__worker *w = &c->worker[i];
    if (w->state == GM__WORKER_DEAD) return false;
    if (!w->doomed && now_ns > w->kill_ns) {
        gm_log(GM_LOG_WARN, "worker %d (process %d) hangs: killed", i, (int)w->pid);
        kill(w->pid, SIGKILL);
        w->doomed = true;
    }
    int how = 0;
    pid_t reaped = waitpid(w->pid, &how, WNOHANG);
    if (reaped == 0 || (reaped < 0 && errno == EINTR)) return false;
    if (!w->doomed)
        gm_log(GM_LOG_WARN, "worker %d (process %d) ended by %s %d", i, (int)w->pid,
               WIFSIGNALED(how) ? "signal" : "itself, status", WIFSIGNALED(how) ? WTERMSIG(how) : WEXITSTATUS(how));
    close_all(w);
    w->state = GM__WORKER_DEAD;
    w->since_ns = now_ns;
    w->restarts++;
    // At once the first time; one that dies before it has run a batch is given more and more time.
    int wait = w->failures < 6 ? w->failures : 6;
    w->restart_ns = now_ns + (wait == 0 ? 0 : SECOND / 10 * (1 << wait));
    w->failures++;
    return true;
}
