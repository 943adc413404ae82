// SPDX-License-Identifier: Apache-2.0
// A save that stops anywhere: killed before, in or after any of its calls; calls that fail; and a power cut, after which
// only what was synced is sure to be there. Whatever happens, the newest checkpoint whose save was reported done is restored, or
// the one that was under way.
#include "checkpoint_test.h"

#include "base/file_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int next_seed = 1;

// A process that dies takes nothing with it that it has written: only the power cut, below, needs a disk that forgets. So
// nothing waits for the real one.
static int no_sync(int fd) {
    (void)fd;
    return 0;
}
static gm__file_calls quick_calls;
static int make_quick(void **state) {
    quick_calls = gm__file_calls_system;
    quick_calls.sync = no_sync;
    gm__file_calls_now = &quick_calls;
    return make_folder(state);
}

// The step of the newest whole checkpoint (0: none), which must be exactly that state.
static int newest_step(const char *folder) {
    gm_error err = {0};
    uint8_t *image = NULL;
    size_t bytes = 0;
    gm_checkpoint_info info;
    int step = 0;
    gm_status status = gm_checkpoint_load(folder, 0, &image, &bytes, &info, &err);
    if (status == GM_ERR_NOT_FOUND) return 0;
    if (status != GM_OK) fail_msg("%s", err.text);
    assert_int_equal(sscanf(info.note, "{\"step\":%d}", &step), 1);
    blob b = make_state(step);
    if (!same_blob(b, image, bytes)) fail_msg("checkpoint of step %d is not what was saved", step);
    gm_free(b.data);
    gm_free(image);
    return step;
}

static gm_checkpoint_settings settings_of(int variant) {
    gm_checkpoint_settings s = gm_checkpoint_settings_default();
    s.full_every = variant % 2 ? 1 : 3;
    s.keep_last = variant < 2 ? 1 : 2;
    return s;
}

// ---------------------------------------------------------------------------------------------
// Trouble at the n-th call. DIE_MIDWAY: half of a write is done.
typedef enum trouble { NOTHING, DIE_BEFORE, DIE_MIDWAY, DIE_AFTER, FULL, BROKEN, SHORT } trouble;
static struct {
    long call, at;
    trouble what;
    bool happened;
} plan;

enum { DIED = 42 };

// True: the call must fail, errno is set.
static bool enter(void) {
    if (++plan.call != plan.at) return false;
    plan.happened = true;
    if (plan.what == DIE_BEFORE) _exit(DIED);
    errno = plan.what == FULL ? ENOSPC : EIO;
    return plan.what == FULL || plan.what == BROKEN;
}
static void leave(void) {
    if (plan.call == plan.at && plan.what >= DIE_MIDWAY && plan.what <= DIE_AFTER) _exit(DIED);
}

static int trouble_open(const char *path, int flags, mode_t mode) {
    if (enter()) return -1;
    int fd = gm__file_calls_system.open(path, flags, mode);
    leave();
    return fd;
}
static int trouble_open_folder(const char *path) {
    if (enter()) return -1;
    int fd = gm__file_calls_system.open_folder(path);
    leave();
    return fd;
}
static ssize_t trouble_write(int fd, const void *data, size_t bytes) {
    if (enter()) return -1;
    bool half = plan.call == plan.at && (plan.what == DIE_MIDWAY || plan.what == SHORT);
    ssize_t n = gm__file_calls_system.write(fd, data, half ? bytes / 2 : bytes);
    leave();
    return n;
}
static int trouble_truncate(int fd, off_t length) {
    if (enter()) return -1;
    int r = gm__file_calls_system.truncate(fd, length);
    leave();
    return r;
}
static int trouble_sync(int fd) {
    if (enter()) return -1;
    int r = no_sync(fd);
    leave();
    return r;
}
static int trouble_rename(const char *from, const char *to) {
    if (enter()) return -1;
    int r = gm__file_calls_system.rename(from, to);
    leave();
    return r;
}
static int trouble_unlink(const char *path) {
    if (enter()) return -1;
    int r = gm__file_calls_system.unlink(path);
    leave();
    return r;
}
static int trouble_close(int fd) {
    bool fails = enter();
    int r = gm__file_calls_system.close(fd); // closed in any case, as Linux does
    leave();
    return fails ? -1 : r;
}
static const gm__file_calls trouble_calls = {.open = trouble_open, .open_folder = trouble_open_folder,
                                             .write = trouble_write, .truncate = trouble_truncate, .sync = trouble_sync,
                                             .rename = trouble_rename, .unlink = trouble_unlink, .close = trouble_close};

// Three steps are there; a process of its own saves the fourth and is stopped.
static void a_killed_save_loses_nothing(void **state) {
    (void)state;
    int kills = 0, committed = 0;
    gm_log_set(GM_LOG_ERROR);
    for (int variant = 0; variant < 4; variant += 3) {
        for (int what = DIE_BEFORE; what <= DIE_AFTER; what++) {
            for (long at = 1;; at++) {
                gm_error err = {0};
                char folder[FOLDER];
                gm_checkpoint_settings s = settings_of(variant);
                fresh_folder("killed", folder);
                if (save_steps(folder, 1, 3, &s, &err) != GM_OK) fail_msg("%s", err.text);
                pid_t pid = fork();
                if (pid == 0) {
                    plan.at = at;
                    plan.what = (trouble)what;
                    gm__file_calls_now = &trouble_calls;
                    _exit(save_steps(folder, 4, 4, &s, NULL) == GM_OK ? 0 : 1);
                }
                int status = 0;
                assert_int_equal(waitpid(pid, &status, 0), pid);
                assert_true(WIFEXITED(status));
                int step = newest_step(folder);
                if (WEXITSTATUS(status) == 0) { // fewer calls than that
                    assert_int_equal(step, 4);
                    assert_true(at > 15);
                    break;
                }
                assert_int_equal(WEXITSTATUS(status), DIED);
                assert_true(step == 3 || step == 4);
                committed += step == 4;
                kills++;
                // The next run goes on in the same folder.
                if (save_steps(folder, 5, 5, &s, &err) != GM_OK) fail_msg("%s", err.text);
                assert_int_equal(newest_step(folder), 5);
            }
        }
    }
    gm_log_set(GM_LOG_INFO);
    print_message("killed %d times, %d of them behind the commit\n", kills, committed);
    assert_true(committed > 0 && committed < kills);
}

static void a_call_that_fails_loses_nothing(void **state) {
    (void)state;
    int failures = 0;
    gm_log_set(GM_LOG_ERROR);
    for (int what = FULL; what <= SHORT; what++) {
        for (long at = 1;; at++) {
            gm_error err = {0};
            char folder[FOLDER];
            gm_checkpoint_settings s = settings_of(0);
            fresh_folder("failed", folder);
            if (save_steps(folder, 1, 3, &s, &err) != GM_OK) fail_msg("%s", err.text);
            plan.call = 0;
            plan.at = at;
            plan.what = (trouble)what;
            plan.happened = false;
            gm__file_calls_now = &trouble_calls;
            gm_status status = save_steps(folder, 4, 4, &s, &err);
            gm__file_calls_now = &quick_calls;
            int step = newest_step(folder);
            if (!plan.happened) break;
            if (what == SHORT) assert_int_equal(status, GM_OK); // it is written on
            if (status == GM_OK) assert_int_equal(step, 4);
            else assert_true((step == 3 || step == 4) && err.text[0] != '\0');
            failures += status != GM_OK;
            if (save_steps(folder, 5, 5, &s, &err) != GM_OK) fail_msg("%s", err.text);
            assert_int_equal(newest_step(folder), 5);
        }
    }
    gm_log_set(GM_LOG_INFO);
    print_message("%d saves failed\n", failures);
    assert_true(failures > 5);
}

// ---------------------------------------------------------------------------------------------
// A disk that forgets. Beside the real files, a model of them: what each file holds and what is sure of it, which names the
// folder has and which are sure.
enum { NODES = 64, NAMES = 32, FDS = 256, PENDING = 64 };
typedef struct node {
    uint8_t *now, *sure;
    size_t now_bytes, sure_bytes;
} node;
typedef struct names {
    char name[NAMES][64];
    int node[NAMES];
    int count;
} names;
static struct {
    node node[NODES];
    int nodes;
    names now, sure;
    names step[PENDING]; // the folder after each change since it was synced
    int steps;
    int fd_node[FDS]; // -1: none; -2: the folder
    int acknowledged; // step of the last save that was reported done
    char after[FOLDER];
    gm_rng rng;
    int cuts;
} disk;

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
static int find_name(const names *n, const char *name) {
    for (int i = 0; i < n->count; i++)
        if (strcmp(n->name[i], name) == 0) return i;
    return -1;
}
static void put_name(names *n, const char *name, int node) {
    int i = find_name(n, name);
    if (i < 0) i = n->count++;
    assert_true(n->count <= NAMES);
    snprintf(n->name[i], sizeof n->name[i], "%s", name);
    n->node[i] = node;
}
static void drop_name(names *n, const char *name) {
    int i = find_name(n, name);
    if (i < 0) return;
    n->count--;
    memmove(n->name[i], n->name[n->count], sizeof n->name[i]);
    n->node[i] = n->node[n->count];
}
static void folder_changed(void) {
    assert_true(disk.steps < PENDING);
    disk.step[disk.steps++] = disk.now;
}

// What may be left of a file: what is sure, what was written, or something in between.
static void write_left(const char *name, const node *n) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", disk.after, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    uint32_t how = gm_rng_below(&disk.rng, 4);
    if (how == 0) {
        if (n->sure_bytes) fwrite(n->sure, 1, n->sure_bytes, f);
    } else if (n->now_bytes) {
        uint8_t *left = malloc(n->now_bytes);
        size_t bytes = how == 1 ? n->now_bytes : gm_rng_below(&disk.rng, (uint32_t)n->now_bytes + 1);
        memcpy(left, n->now, n->now_bytes);
        bool is_sure = n->sure_bytes == n->now_bytes && memcmp(n->sure, n->now, n->now_bytes) == 0;
        if (is_sure) bytes = n->now_bytes; // a synced file does not get shorter
        for (size_t at = 0; at < n->now_bytes && how == 3 && !is_sure; at += 512) // blocks that were not written yet
            if (gm_rng_below(&disk.rng, 3) == 0) memset(left + at, 0, n->now_bytes - at < 512 ? n->now_bytes - at : 512);
        fwrite(left, 1, bytes, f);
        free(left);
    }
    fclose(f);
}

// The power goes now: what is found afterwards?
static void cut(void) {
    for (int i = 0; i < 3; i++) {
        uint32_t reached = gm_rng_below(&disk.rng, (uint32_t)disk.steps + 1);
        const names *n = reached == 0 ? &disk.sure : &disk.step[reached - 1];
        char again[FOLDER];
        fresh_folder("after", again);
        assert_int_equal(mkdir(disk.after, 0777), 0);
        for (int k = 0; k < n->count; k++) write_left(n->name[k], &disk.node[n->node[k]]);
        int step = newest_step(disk.after);
        if (step != disk.acknowledged && step != disk.acknowledged + 1)
            fail_msg("after a power cut: step %d, though %d was saved", step, disk.acknowledged);
        disk.cuts++;
    }
}

static int disk_open(const char *path, int flags, mode_t mode) {
    int fd = gm__file_calls_system.open(path, flags, mode);
    assert_true(fd >= 0 && fd < FDS);
    int i = find_name(&disk.now, base_name(path));
    if (i < 0) {
        assert_true(disk.nodes < NODES);
        put_name(&disk.now, base_name(path), disk.nodes++);
        folder_changed();
        i = find_name(&disk.now, base_name(path));
    }
    disk.fd_node[fd] = disk.now.node[i];
    cut();
    return fd;
}
static int disk_open_folder(const char *path) {
    int fd = gm__file_calls_system.open_folder(path);
    assert_true(fd >= 0 && fd < FDS);
    disk.fd_node[fd] = -2;
    return fd;
}
static ssize_t disk_write(int fd, const void *data, size_t bytes) {
    node *n = &disk.node[disk.fd_node[fd]];
    n->now = realloc(n->now, n->now_bytes + bytes);
    assert_non_null(n->now);
    memcpy(n->now + n->now_bytes, data, bytes);
    n->now_bytes += bytes;
    cut();
    return gm__file_calls_system.write(fd, data, bytes);
}
static int disk_truncate(int fd, off_t length) {
    assert_int_equal(length, 0);
    disk.node[disk.fd_node[fd]].now_bytes = 0;
    return gm__file_calls_system.truncate(fd, length);
}
static int disk_sync(int fd) {
    if (disk.fd_node[fd] == -2) {
        disk.sure = disk.now;
        disk.steps = 0;
    } else {
        node *n = &disk.node[disk.fd_node[fd]];
        free(n->sure);
        n->sure = malloc(n->now_bytes + 1);
        assert_non_null(n->sure);
        memcpy(n->sure, n->now, n->now_bytes);
        n->sure_bytes = n->now_bytes;
    }
    cut();
    return 0;
}
static int disk_rename(const char *from, const char *to) {
    int i = find_name(&disk.now, base_name(from));
    assert_true(i >= 0);
    int moved = disk.now.node[i];
    drop_name(&disk.now, base_name(from));
    put_name(&disk.now, base_name(to), moved);
    folder_changed();
    cut();
    return gm__file_calls_system.rename(from, to);
}
static int disk_unlink(const char *path) {
    drop_name(&disk.now, base_name(path));
    folder_changed();
    cut();
    return gm__file_calls_system.unlink(path);
}
static int disk_close(int fd) {
    disk.fd_node[fd] = -1;
    return gm__file_calls_system.close(fd);
}
static const gm__file_calls disk_calls = {.open = disk_open, .open_folder = disk_open_folder, .write = disk_write,
                                          .truncate = disk_truncate, .sync = disk_sync, .rename = disk_rename,
                                          .unlink = disk_unlink, .close = disk_close};

static void a_power_cut_loses_nothing_that_was_saved(void **state) {
    (void)state;
    char folder[FOLDER];
    int cuts = 0;
    gm_log_set(GM_LOG_ERROR);
    for (int variant = 0; variant < 4; variant++) {
        gm_error err = {0};
        gm_checkpoint_settings s = settings_of(variant);
        fresh_folder("disk", folder);
        memset(&disk, 0, sizeof disk);
        snprintf(disk.after, sizeof disk.after, "%.4000s/after", test_folder);
        disk.rng = gm_rng_keyed((uint64_t)next_seed, (uint64_t)variant, 0, GM_RNG_TEST);
        gm__file_calls_now = &disk_calls;
        for (int step = 1; step <= 5; step++) {
            if (save_steps(folder, step, step, &s, &err) != GM_OK) fail_msg("%s", err.text);
            disk.acknowledged = step;
            cut();
        }
        gm__file_calls_now = &quick_calls;
        for (int i = 0; i < disk.nodes; i++) {
            free(disk.node[i].now);
            free(disk.node[i].sure);
        }
        cuts += disk.cuts;
    }
    gm_log_set(GM_LOG_INFO);
    print_message("seed %d: %d power cuts\n", next_seed, cuts);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_save_loses_nothing),
        cmocka_unit_test(a_call_that_fails_loses_nothing),
        cmocka_unit_test(a_power_cut_loses_nothing_that_was_saved),
    };
    return cmocka_run_group_tests(tests, make_quick, remove_all);
}
