// SPDX-License-Identifier: Apache-2.0
// The store: what is saved is restored bit for bit, along chains, after damage, with retention; one writer, any readers.
#include "checkpoint_test.h"

#include "checkpoint/container.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <math.h>
#include <signal.h>

static void number_path(const char folder[FOLDER], int number, char path[PATH_MAX]) {
    snprintf(path, PATH_MAX, "%s/%08d.gmc", folder, number);
}

static bool there(const char *folder, int number) {
    char path[PATH_MAX];
    number_path(folder, number, path);
    return gm_path_exists(path);
}

static void damage_file(const char *path, double where) {
    gm_error err = {0};
    uint8_t *data = NULL;
    size_t bytes = 0;
    assert_ok(gm_file_read(path, 1 << 24, &data, &bytes, &err));
    data[(size_t)(where * (double)(bytes - 1))] ^= 0x10;
    assert_ok(gm_file_write(path, data, bytes, &err));
    gm_free(data);
}

static void every_checkpoint_of_a_chain_is_restored(void **state) {
    (void)state;
    gm_error err = {0};
    char folder[FOLDER];
    gm_checkpoint_settings s = gm_checkpoint_settings_default();
    gm_checkpoint_list list;
    s.full_every = 4;
    fresh_folder("chain", folder);
    assert_ok(save_steps(folder, 1, 6, &s, &err));
    assert_ok(save_steps(folder, 7, 10, &s, &err)); // another process goes on
    assert_ok(gm_checkpoint_list_read(folder, &list, &err));
    assert_int_equal(list.count, 10);
    int deltas = 0;
    for (int i = 0; i < list.count; i++) {
        uint8_t *image = NULL;
        size_t bytes = 0;
        gm_checkpoint_info info;
        assert_string_equal(list.problem[i], "");
        assert_int_equal(list.item[i].number, i + 1);
        deltas += list.item[i].parent != 0;
        assert_ok(gm_checkpoint_load(folder, (uint64_t)i + 1, &image, &bytes, &info, &err));
        blob b = make_state(i + 1);
        assert_true(same_blob(b, image, bytes));
        assert_true(info.identity == list.item[i].identity && info.bytes == list.item[i].bytes);
        assert_int_equal(info.raw[GM_CHECKPOINT_WEIGHTS], info.raw[GM_CHECKPOINT_OPTIMIZER]);
        char note[32];
        snprintf(note, sizeof note, "{\"step\":%d}", i + 1);
        assert_string_equal(info.note, note);
        gm_free(b.data);
        gm_free(image);
    }
    assert_int_equal(deltas, 7); // 1, 5 and 9 stand alone
    assert_true(list.item[0].parent == 0 && list.item[4].parent == 0 && list.item[9].parent == 9);
    assert_true(gm_checkpoint_ratio_weights(&list.item[1]) > gm_checkpoint_ratio_weights(&list.item[0]));
    gm_checkpoint_list_fini(&list);
}

static void a_single_file_stands_alone(void **state) {
    (void)state;
    gm_error err = {0};
    gm_checkpoint_settings s = gm_checkpoint_settings_default();
    gm_checkpoint_info written, read;
    uint8_t *image = NULL;
    size_t bytes = 0;
    blob b = make_state(3);
    const char *path = in_folder("one.gmc");
    assert_ok(gm_checkpoint_file_write(path, b.data, b.bytes, &s, "{\"a\":1}", &written, &err));
    assert_true(gm_checkpoint_is_file(path));
    assert_ok(gm_checkpoint_file_read(path, &image, &bytes, &read, &err));
    assert_true(same_blob(b, image, bytes));
    gm_free(image);
    assert_memory_equal(&written, &read, sizeof read);
    // What is no object cannot become part of the manifest.
    assert_int_equal(gm_checkpoint_file_write(path, b.data, b.bytes, &s, "[1]", &written, &err), GM_ERR_ARGUMENT);
    assert_int_equal(gm_checkpoint_file_write(path, b.data, b.bytes - 1, &s, NULL, &written, &err), GM_ERR_FORMAT);
    assert_ok(gm_checkpoint_file_read(path, &image, &bytes, NULL, &err)); // still the old one
    gm_free(image);
    gm_free(b.data);
    assert_false(gm_checkpoint_is_file(in_folder("absent")));
}

static void a_damaged_newest_is_passed_over(void **state) {
    (void)state;
    gm_error err = {0};
    char folder[FOLDER], path[PATH_MAX];
    gm_checkpoint_settings s = gm_checkpoint_settings_default();
    s.full_every = 3;
    fresh_folder("damaged", folder);
    assert_ok(save_steps(folder, 1, 6, &s, &err)); // 1 <- 2 <- 3, 4 <- 5 <- 6
    gm_log_set(GM_LOG_ERROR);
    number_path(folder, 6, path);
    damage_file(path, 0.3);
    expect_newest(folder, 5);
    uint8_t *image = NULL;
    size_t bytes = 0;
    assert_int_equal(gm_checkpoint_load(folder, 6, &image, &bytes, NULL, &err), GM_ERR_FORMAT);
    assert_null(image);
    assert_non_null(strstr(err.text, "00000006.gmc"));
    number_path(folder, 4, path); // what 5 and 6 need
    damage_file(path, 0.5);
    expect_newest(folder, 3);
    number_path(folder, 1, path);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(gm_checkpoint_load(folder, 0, &image, &bytes, NULL, &err), GM_ERR_FORMAT);
    assert_non_null(strstr(err.text, "none of its 6 checkpoints"));
    // A writer goes on behind them, with one that stands alone.
    assert_ok(save_steps(folder, 7, 7, &s, &err));
    expect_newest(folder, 7);
    gm_log_set(GM_LOG_INFO);
}

// A parent that was replaced by another file of the same number, whole in itself.
static void a_foreign_parent_is_noticed(void **state) {
    (void)state;
    gm_error err = {0};
    char folder[FOLDER], other[FOLDER], from[PATH_MAX], to[PATH_MAX];
    gm_checkpoint_settings s = gm_checkpoint_settings_default();
    fresh_folder("mine", folder);
    fresh_folder("other", other);
    assert_ok(save_steps(folder, 1, 2, &s, &err));
    assert_ok(save_steps(other, 4, 4, &s, &err)); // its number is 1
    number_path(other, 1, from);
    number_path(folder, 1, to);
    assert_int_equal(rename(from, to), 0);
    uint8_t *image = NULL;
    size_t bytes = 0;
    assert_int_equal(gm_checkpoint_load(folder, 2, &image, &bytes, NULL, &err), GM_ERR_FORMAT);
    number_path(folder, 9, from);
    assert_int_equal(rename(to, from), 0); // renamed: its header says 1
    assert_int_equal(gm_checkpoint_load(folder, 9, &image, &bytes, NULL, &err), GM_ERR_FORMAT);
    assert_non_null(strstr(err.text, "renamed"));
}

static void retention_keeps_what_is_needed(void **state) {
    (void)state;
    gm_error err = {0};
    char folder[FOLDER];
    gm_checkpoint_settings s = gm_checkpoint_settings_default();
    s.full_every = 4;
    s.keep_last = 2;
    s.keep_every = 5;
    fresh_folder("kept", folder);
    assert_ok(save_steps(folder, 1, 11, &s, &err)); // full: 1, 5, 9
    // The last two 10, 11 need 9; 5 and 10 are fifths; everything else may go.
    for (int n = 1; n <= 11; n++) assert_int_equal(there(folder, n), n == 5 || n >= 9);
    expect_newest(folder, 11);
    int removed = 0;
    uint64_t bytes = 0;
    assert_ok(gm_checkpoint_prune(folder, 1, 0, false, &removed, &bytes, &err));
    assert_int_equal(removed, 1); // 11 needs 10 and 9
    assert_true(bytes > 0 && !there(folder, 5));
    expect_newest(folder, 11);
    // Nothing that is named by the manifest is missing; then one is.
    gm_checkpoint_list list;
    assert_ok(gm_checkpoint_list_read(folder, &list, &err));
    assert_int_equal(list.missing, 0);
    gm_checkpoint_list_fini(&list);
    char path[PATH_MAX];
    number_path(folder, 9, path);
    unlink(path);
    assert_ok(gm_checkpoint_list_read(folder, &list, &err));
    assert_int_equal(list.missing, 1);
    assert_int_equal(list.missing_number[0], 9);
    gm_checkpoint_list_fini(&list);
}

static void pruning_never_takes_the_newest_whole(void **state) {
    (void)state;
    gm_error err = {0};
    char folder[FOLDER], path[PATH_MAX];
    gm_checkpoint_settings s = gm_checkpoint_settings_default();
    s.full_every = 1;
    fresh_folder("newest", folder);
    assert_ok(save_steps(folder, 1, 3, &s, &err));
    number_path(folder, 3, path);
    damage_file(path, 0.2); // its directory still reads well
    gm_log_set(GM_LOG_ERROR);
    assert_ok(gm_checkpoint_prune(folder, 1, 0, false, NULL, NULL, &err));
    assert_true(there(folder, 3) && there(folder, 2) && !there(folder, 1));
    assert_ok(gm_checkpoint_prune(folder, 1, 0, true, NULL, NULL, &err));
    assert_false(there(folder, 3));
    expect_newest(folder, 2);
    assert_ok(gm_checkpoint_clear(folder, &err));
    assert_false(there(folder, 2));
    uint8_t *image = NULL;
    size_t bytes = 0;
    assert_int_equal(gm_checkpoint_load(folder, 0, &image, &bytes, NULL, &err), GM_ERR_NOT_FOUND);
    gm_log_set(GM_LOG_INFO);
}

static void a_lost_manifest_is_written_again(void **state) {
    (void)state;
    gm_error err = {0};
    char folder[FOLDER], path[PATH_MAX];
    gm_checkpoint_settings s = gm_checkpoint_settings_default();
    gm_checkpoint_list list;
    fresh_folder("manifest", folder);
    assert_ok(save_steps(folder, 1, 2, &s, &err));
    snprintf(path, sizeof path, "%s/manifest.json", folder);
    assert_ok(gm_file_write(path, "{\"format\":[", 11, &err));
    assert_ok(gm_checkpoint_list_read(folder, &list, &err));
    assert_int_equal(list.count, 2);
    gm_checkpoint_list_fini(&list);
    assert_ok(save_steps(folder, 3, 3, &s, &err));
    uint8_t *data = NULL;
    size_t bytes = 0;
    assert_ok(gm_file_read(path, 1 << 20, &data, &bytes, &err));
    assert_non_null(strstr((char *)data, "00000001.gmc"));
    assert_non_null(strstr((char *)data, "\"step\": 3"));
    gm_free(data);
}

static void two_writers_exclude_each_other(void **state) {
    (void)state;
    gm_error err = {0};
    char folder[FOLDER];
    gm_checkpoint_settings s = gm_checkpoint_settings_default();
    gm_checkpoint_writer *a = NULL, *b = NULL;
    fresh_folder("locked", folder);
    assert_ok(gm_checkpoint_writer_create(folder, &s, &a, &err));
    assert_int_equal(gm_checkpoint_writer_create(folder, &s, &b, &err), GM_ERR_STATE);
    assert_null(b);
    assert_int_equal(gm_checkpoint_prune(folder, 1, 0, false, NULL, NULL, &err), GM_ERR_STATE);
    gm_checkpoint_writer_destroy(a);
    assert_ok(gm_checkpoint_writer_create(folder, &s, &b, &err));
    gm_checkpoint_writer_destroy(b);
    s.level = 99;
    assert_int_equal(gm_checkpoint_writer_create(folder, &s, &b, &err), GM_ERR_RANGE);
}

// Training fills its image anew while the thread still writes the one before: it gets another.
// The writer decodes the newest whole checkpoint to go on from; who goes on from it, too, need not decode it again.
static void a_writer_hands_out_what_it_went_on_from(void **state) {
    (void)state;
    gm_error err = {0};
    char folder[FOLDER], path[PATH_MAX];
    gm_checkpoint_settings s = gm_checkpoint_settings_default();
    gm_checkpoint_writer *w = NULL;
    gm_checkpoint_info info = {0};
    fresh_folder("newest", folder);
    assert_ok(gm_checkpoint_writer_create(folder, &s, &w, &err));
    assert_null(gm_checkpoint_writer_newest(w, &info));
    gm_checkpoint_writer_destroy(w);
    assert_ok(save_steps(folder, 1, 4, &s, &err));
    gm_log_set(GM_LOG_ERROR);
    number_path(folder, 4, path);
    damage_file(path, 0.5);
    blob expected = make_state(3);
    for (int asked = 0; asked < 2; asked++) { // asked: for it, before the first save
        assert_ok(gm_checkpoint_writer_create(folder, &s, &w, &err));
        if (!asked) {
            gm_tensor_image *newest = gm_checkpoint_writer_newest(w, &info);
            assert_non_null(newest);
            assert_true(same_blob(expected, newest->data, newest->bytes));
            assert_int_equal(info.number, 3);
            gm_tensor_image_release(newest);
            assert_null(gm_checkpoint_writer_newest(w, NULL));
        }
        blob b = make_state(5 + asked);
        assert_ok(save_blob(w, b, NULL, &err));
        assert_null(gm_checkpoint_writer_newest(w, NULL));
        gm_checkpoint_writer_destroy(w);
        expect_newest(folder, asked ? 6 : 5);
        if (!asked) {
            number_path(folder, 5, path);
            damage_file(path, 0.5); // the third is the newest again
        }
        gm_free(b.data);
    }
    gm_free(expected.data);
    gm_log_set(GM_LOG_INFO);
}

static void a_saved_image_is_left_alone(void **state) {
    (void)state;
    gm_error err = {0};
    char folder[FOLDER];
    gm_checkpoint_settings s = gm_checkpoint_settings_default();
    gm_checkpoint_writer *w = NULL;
    fresh_folder("copy", folder);
    assert_ok(gm_checkpoint_writer_create(folder, &s, &w, &err));
    gm_tensor_image *image = NULL;
    for (int step = 1; step <= 4; step++) {
        make_image(step, &image);
        assert_ok(gm_checkpoint_writer_save(w, image, NULL, &err));
    }
    gm_tensor_image_release(image);
    gm_checkpoint_writer_destroy(w); // ends what was begun
    for (int step = 1; step <= 4; step++) {
        uint8_t *image = NULL;
        size_t bytes = 0;
        assert_ok(gm_checkpoint_load(folder, (uint64_t)step, &image, &bytes, NULL, &err));
        blob b = make_state(step);
        assert_true(same_blob(b, image, bytes));
        gm_free(b.data);
        gm_free(image);
    }
}

// A limit on file size fails a write in its midst, as a full disk does.
static void a_full_disk_leaves_the_one_before(void **state) {
    (void)state;
    gm_error err = {0};
    char folder[FOLDER];
    gm_checkpoint_settings s = gm_checkpoint_settings_default();
    gm_checkpoint_writer *w = NULL;
    struct rlimit before, small;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    fresh_folder("full", folder);
    assert_ok(save_steps(folder, 1, 1, &s, &err));
    assert_ok(gm_checkpoint_writer_create(folder, &s, &w, &err));
    blob two = make_state(2), three = make_state(3);
    small = (struct rlimit){8000, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    assert_ok(save_blob(w, two, NULL, &err));
    assert_int_equal(gm_checkpoint_writer_wait(w, NULL, &err), GM_ERR_IO);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_non_null(strstr(err.text, folder));
    expect_newest(folder, 1);
    assert_ok(save_blob(w, two, NULL, &err)); // there is room again
    assert_ok(save_blob(w, three, NULL, &err));
    assert_ok(gm_checkpoint_writer_wait(w, NULL, &err));
    gm_checkpoint_writer_destroy(w);
    expect_newest(folder, 3);
    gm_free(two.data);
    gm_free(three.data);
}

// --- quantized
static void expect_close(const uint8_t *image, size_t bytes, int step, gm_checkpoint_optimizer optimizer) {
    gm_error err = {0};
    gm_tensor_file *was = NULL, *is = NULL;
    blob b = make_state(step);
    assert_ok(gm_tensor_file_parse(b.data, b.bytes, "was", &was, &err));
    assert_ok(gm_tensor_file_parse(image, bytes, "is", &is, &err));
    assert_int_equal(gm_tensor_count(was), gm_tensor_count(is));
    for (int i = 0; i < gm_tensor_count(was); i++) {
        const gm_tensor_info *x = gm_tensor_at(was, i), *y = gm_tensor_find(is, x->name);
        assert_non_null(y);
        const float *a = x->data, *c = y->data;
        bool momentum = strncmp(x->name, "momentum/", 9) == 0, params = strncmp(x->name, "params/", 7) == 0;
        bool lossy = params || (momentum && optimizer != GM_CHECKPOINT_KEEP);
        if (!lossy) {
            assert_memory_equal(x->data, y->data, x->bytes);
            continue;
        }
        double difference = 0, size = 0;
        for (uint64_t k = 0; k < x->bytes / 4; k++) {
            difference += (double)(a[k] - c[k]) * (double)(a[k] - c[k]);
            size += (double)a[k] * (double)a[k];
            if (momentum && optimizer == GM_CHECKPOINT_DROP) assert_true(c[k] == 0);
        }
        if (!(momentum && optimizer == GM_CHECKPOINT_DROP)) assert_true(difference < 0.1 * size);
    }
    gm_tensor_file_destroy(was);
    gm_tensor_file_destroy(is);
    gm_free(b.data);
}

static void quantized_chains_restore_the_same_everywhere(void **state) {
    (void)state;
    gm_error err = {0};
    static const gm_checkpoint_optimizer all[] = {GM_CHECKPOINT_KEEP, GM_CHECKPOINT_DROP, GM_CHECKPOINT_ROUND};
    for (int o = 0; o < 3; o++) {
        char folder[FOLDER];
        gm_checkpoint_settings s = gm_checkpoint_settings_default();
        s.mode = GM_CHECKPOINT_QUANTIZED;
        s.optimizer = all[o];
        s.full_every = 3;
        snprintf(s.coder, sizeof s.coder, "%s", o == 1 ? "paper" : "rans");
        fresh_folder("quantized", folder);
        assert_ok(save_steps(folder, 1, 4, &s, &err));
        assert_ok(save_steps(folder, 5, 5, &s, &err)); // resumed: the state comes from the files
        s.mode = GM_CHECKPOINT_LOSSLESS; // a difference to weights that were quantized
        assert_ok(save_steps(folder, 6, 6, &s, &err));
        expect_newest(folder, 6);
        for (int step = 1; step <= 5; step++) {
            uint8_t *image = NULL, *again = NULL;
            size_t bytes = 0, bytes_again = 0;
            gm_checkpoint_info info;
            assert_ok(gm_checkpoint_load(folder, (uint64_t)step, &image, &bytes, &info, &err));
            assert_int_equal(info.quantized, STATE_TENSORS);
            assert_non_null(strstr(info.note, "\"quantizer\":{"));
            assert_int_equal(info.dropped, s.optimizer == GM_CHECKPOINT_DROP ? STATE_TENSORS : 0);
            assert_true(gm_checkpoint_ratio_weights(&info) > 3);
            expect_close(image, bytes, step, all[o]);
            assert_ok(gm_checkpoint_load(folder, (uint64_t)step, &again, &bytes_again, &info, &err));
            assert_true(bytes == bytes_again && memcmp(image, again, bytes) == 0);
            gm_free(image);
            gm_free(again);
        }
    }
}

// Half of the weights up, half down: how far the conv layer of an image got that way, and moving it.
static double along_the_way(const uint8_t *image, size_t bytes, float step) {
    gm_error err = {0};
    gm_tensor_file *f = NULL;
    double sum = 0;
    assert_ok(gm_tensor_file_parse(image, bytes, "image", &f, &err));
    const gm_tensor_info *t = gm_tensor_find(f, "params/conv.weight");
    float *w = (float *)t->data; // within image
    size_t n = state_elements(0);
    for (size_t i = 0; i < n; i++) {
        float way = i * i % 7 < 2 ? 1.0f : -1.0f;
        w[i] += step * way;
        sum += (double)(w[i] * way);
    }
    gm_tensor_file_destroy(f);
    return sum / (double)n;
}

// Training that goes on from what was saved, and is saved again before any weight has moved by half a bin: who has told the writer,
// or has opened a new one, finds the movement in the file; without that it is not there.
static void what_was_gained_since_a_restore_is_saved(void **state) {
    (void)state;
    enum { UNTOLD, TOLD, ANEW };
    const float step = 0.004f;
    for (int form = UNTOLD; form <= ANEW; form++) {
        gm_error err = {0};
        char folder[FOLDER];
        gm_checkpoint_writer *w = NULL;
        uint8_t *image = NULL;
        size_t bytes = 0;
        gm_checkpoint_settings s = gm_checkpoint_settings_default();
        s.mode = GM_CHECKPOINT_QUANTIZED;
        s.optimizer = GM_CHECKPOINT_DROP;
        snprintf(s.config, sizeof s.config, "bins=8 prune=0");
        fresh_folder("gained", folder);
        assert_ok(gm_checkpoint_writer_create(folder, &s, &w, &err));
        blob b = make_state(1);
        assert_ok(save_blob(w, b, NULL, &err));
        assert_ok(gm_checkpoint_writer_wait(w, NULL, &err));
        if (form == ANEW) {
            gm_checkpoint_writer_destroy(w);
            assert_ok(gm_checkpoint_writer_create(folder, &s, &w, &err));
        }
        assert_ok(gm_checkpoint_load(folder, 0, &image, &bytes, NULL, &err));
        if (form == TOLD) gm_checkpoint_writer_resumed(w);
        double before = along_the_way(image, bytes, 0);
        along_the_way(image, bytes, step);
        assert_ok(save_blob(w, (blob){image, bytes}, NULL, &err));
        gm_checkpoint_writer_destroy(w);
        gm_free(image);
        assert_ok(gm_checkpoint_load(folder, 0, &image, &bytes, NULL, &err));
        double gained = (along_the_way(image, bytes, 0) - before) / (double)step;
        if (form == UNTOLD) assert_true(fabs(gained) < 0.2);
        else assert_true(gained > 0.7 && gained < 1.3);
        gm_free(image);
        gm_free(b.data);
    }
}

// Movements of a tenth of a bin: after a restore that came when weights had filled their bins they are saved once they add up; when the next restore comes
// before, from then on.
static void a_restore_that_comes_early_is_the_one_that_costs_bits(void **state) {
    (void)state;
    enum { STEPS = 6 };
    const float step = 0.004f;
    gm_error err = {0};
    char folder[FOLDER];
    gm_checkpoint_writer *w = NULL;
    gm_checkpoint_settings s = gm_checkpoint_settings_default();
    s.mode = GM_CHECKPOINT_QUANTIZED;
    s.optimizer = GM_CHECKPOINT_DROP;
    snprintf(s.config, sizeof s.config, "bins=8 prune=0");
    fresh_folder("early", folder);
    assert_ok(save_steps(folder, 1, STEPS, &s, &err));
    for (int restores = 0; restores < 4; restores++) { // by a new writer and by one that is told, in turns
        uint8_t *image = NULL;
        size_t bytes = 0;
        if (!w) assert_ok(gm_checkpoint_writer_create(folder, &s, &w, &err));
        else gm_checkpoint_writer_resumed(w);
        assert_ok(gm_checkpoint_load(folder, 0, &image, &bytes, NULL, &err));
        double before = along_the_way(image, bytes, 0);
        along_the_way(image, bytes, step);
        assert_ok(save_blob(w, (blob){image, bytes}, NULL, &err));
        assert_ok(gm_checkpoint_writer_wait(w, NULL, &err));
        gm_free(image);
        gm_checkpoint_info info;
        assert_ok(gm_checkpoint_load(folder, 0, &image, &bytes, &info, &err));
        double gained = (along_the_way(image, bytes, 0) - before) / (double)step;
        if (restores == 0) assert_true(fabs(gained) < 0.2);
        else assert_true(gained > 0.7 && gained < 1.3);
        assert_non_null(strstr(info.note, "\"settled\":0"));
        gm_free(image);
        if (restores % 2 == 1) {
            gm_checkpoint_writer_destroy(w);
            w = NULL;
        }
    }
    gm_checkpoint_writer_destroy(w);
}

// The bound of later saves: what a search may lose. The figure is 1 and the squared error of the weights, relative.
typedef struct comparison {
    const gm_tensor_file *exact;
    double wrong, all;
    int ended;
} comparison;

static gm_status compare_with(void *self, const gm_tensor_file *image, gm_error *err) {
    (void)err;
    comparison *c = self;
    *c = (comparison){.exact = image, .ended = c->ended};
    return GM_OK;
}

static gm_status compare(void *self, const char *name, const float *weights, gm_error *err) {
    comparison *c = self;
    (void)err;
    const gm_tensor_info *info = gm_tensor_find(c->exact, name);
    const float *w = info->data;
    for (uint64_t i = 0; i < info->bytes / 4; i++) {
        c->wrong += (double)(w[i] - weights[i]) * (double)(w[i] - weights[i]);
        c->all += (double)w[i] * (double)w[i];
    }
    return GM_OK;
}

static gm_status error_so_far(void *self, double *figure, gm_error *err) {
    comparison *c = self;
    (void)err;
    *figure = 1 + c->wrong / c->all;
    c->wrong = c->all = 0;
    return GM_OK;
}

static void count_ends(void *self) {
    comparison *c = self;
    c->ended++;
}

static void the_bound_can_change_between_saves(void **state) {
    (void)state;
    static const double bound[] = {0.1, 0.005, 0.1};
    gm_error err = {0};
    char folder[FOLDER];
    comparison c = {0};
    const gm_checkpoint_quality quality = {compare_with, compare, error_so_far, 1, &c, count_ends};
    gm_checkpoint_settings s = gm_checkpoint_settings_default();
    gm_checkpoint_writer *w = NULL;
    s.mode = GM_CHECKPOINT_QUANTIZED;
    s.quality = &quality;
    fresh_folder("bound", folder);
    assert_ok(gm_checkpoint_writer_create(folder, &s, &w, &err));
    for (int i = 0; i < 3; i++) {
        gm_checkpoint_info info;
        blob b = make_state(i + 1);
        if (i == 2) { // the error bounded as well: by the finest that is asked for
            gm_checkpoint_writer_destroy(w);
            s.distortion = 1e-9;
            assert_ok(gm_checkpoint_writer_create(folder, &s, &w, &err));
        }
        gm_checkpoint_writer_bound(w, bound[i]);
        assert_ok(save_blob(w, b, NULL, &err));
        assert_ok(gm_checkpoint_writer_wait(w, &info, &err));
        const char *drop = strstr(info.note, "\"drop\":"), *error = strstr(info.note, "\"error\":");
        assert_true(drop && error);
        double lost = strtod(drop + 7, NULL);
        if (s.distortion > 0) assert_true(strtod(error + 8, NULL) <= 0.00015);
        assert_true(lost <= bound[i] && (i > 0 || lost > bound[1]));
        assert_int_equal(c.ended, i + 1);
        gm_free(b.data);
    }
    gm_checkpoint_writer_destroy(w);
}

// A copy of the weights is what a lossless history costs in memory; moments, new each time, gain nothing by a difference.
static void of_a_parent_the_weights_are_held(void **state) {
    (void)state;
    gm_error err = {0};
    gm_tensor_file *file = NULL, *held = NULL;
    blob b = make_state(3);
    size_t weights = 0;
    assert_ok(gm_tensor_file_parse(b.data, b.bytes, "state", &file, &err));
    gm_tensor_image *parent = gm__parent_make(file, b.bytes, true);
    assert_non_null(parent);
    assert_ok(gm_tensor_file_parse(parent->data, parent->bytes, "parent", &held, &err));
    for (int t = 0; t < STATE_TENSORS; t++) {
        char name[64];
        snprintf(name, sizeof name, "params/%s", state_name[t]);
        const gm_tensor_info *info = gm_tensor_find(file, name);
        assert_memory_equal(gm_tensor_find(held, name)->data, info->data, info->bytes);
        assert_ptr_equal(gm__parent_tensor(held, info), gm_tensor_find(held, name));
        weights += info->bytes;
        snprintf(name, sizeof name, "momentum/%s", state_name[t]);
        assert_non_null(gm_tensor_find(file, name));
        assert_null(gm_tensor_find(held, name));
    }
    assert_true(parent->bytes < weights + 2048);
    gm_tensor_file_destroy(held);
    gm_tensor_image_release(parent);
    assert_null(gm__parent_make(file, b.bytes, false)); // quantized: what is left is not worth it
    gm_tensor_file_destroy(file);
    gm_free(b.data);
}

static void weights_that_are_not_finite_stay_exact(void **state) {
    (void)state;
    gm_error err = {0};
    gm_checkpoint_settings s = gm_checkpoint_settings_default();
    gm_tensor_file *file = NULL;
    uint8_t *image = NULL;
    size_t bytes = 0;
    gm_checkpoint_info info;
    blob b = make_state(2);
    assert_ok(gm_tensor_file_parse(b.data, b.bytes, "state", &file, &err));
    const gm_tensor_info *t = gm_tensor_find(file, "params/conv.weight");
    size_t place = (size_t)((const uint8_t *)t->data - b.data);
    gm_tensor_file_destroy(file);
    const uint32_t nan = 0x7f800123u;
    memcpy(b.data + place + 40, &nan, 4);
    s.mode = GM_CHECKPOINT_QUANTIZED;
    assert_ok(gm_checkpoint_file_write(in_folder("nan.gmc"), b.data, b.bytes, &s, NULL, &info, &err));
    assert_int_equal(info.quantized, STATE_TENSORS - 1); // the others
    assert_ok(gm_checkpoint_file_read(in_folder("nan.gmc"), &image, &bytes, NULL, &err));
    assert_memory_equal(image + place, b.data + place, state_elements(0) * 4);
    gm_free(image);
    gm_free(b.data);
}

// --- memory
static gm_status save_and_load(gm_error *err) {
    static char folder[FOLDER];
    gm_checkpoint_settings s = gm_checkpoint_settings_default();
    gm_checkpoint_info info;
    uint8_t *image = NULL;
    size_t bytes = 0;
    blob b = make_state(0);
    snprintf(folder, sizeof folder, "%s/memory.gmc", test_folder);
    gm_status status = gm_checkpoint_file_write(folder, b.data, b.bytes, &s, NULL, &info, err);
    if (status == GM_OK) status = gm_checkpoint_file_read(folder, &image, &bytes, &info, err);
    gm_free(image);
    gm_free(b.data);
    return status;
}

static void failing_allocations_are_errors(void **state) {
    (void)state;
    for (long n = 1; n < 400; n++) {
        gm_error err = {0};
        blob warm = make_state(0); // its own allocations are not what is tested
        gm_free(warm.data);
        size_t live = gm_alloc_live();
        gm_status status;
        blob b = make_state(0);
        gm_checkpoint_settings s = gm_checkpoint_settings_default();
        gm_checkpoint_info info;
        uint8_t *image = NULL;
        size_t bytes = 0;
        s.mode = n % 2 ? GM_CHECKPOINT_QUANTIZED : GM_CHECKPOINT_LOSSLESS;
        gm_alloc_fail_at(n);
        status = gm_checkpoint_file_write(in_folder("memory.gmc"), b.data, b.bytes, &s, NULL, &info, &err);
        if (status == GM_OK) status = gm_checkpoint_file_read(in_folder("memory.gmc"), &image, &bytes, &info, &err);
        gm_alloc_fail_at(0);
        gm_free(image);
        gm_free(b.data);
        assert_int_equal(gm_alloc_live(), live);
        if (status != GM_OK) assert_int_equal(status, GM_ERR_MEMORY);
    }
    gm_error err = {0};
    assert_ok(save_and_load(&err));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_checkpoint_of_a_chain_is_restored),
        cmocka_unit_test(a_single_file_stands_alone),
        cmocka_unit_test(a_damaged_newest_is_passed_over),
        cmocka_unit_test(a_foreign_parent_is_noticed),
        cmocka_unit_test(retention_keeps_what_is_needed),
        cmocka_unit_test(pruning_never_takes_the_newest_whole),
        cmocka_unit_test(a_lost_manifest_is_written_again),
        cmocka_unit_test(two_writers_exclude_each_other),
        cmocka_unit_test(a_writer_hands_out_what_it_went_on_from),
        cmocka_unit_test(a_saved_image_is_left_alone),
        cmocka_unit_test(a_full_disk_leaves_the_one_before),
        cmocka_unit_test(quantized_chains_restore_the_same_everywhere),
        cmocka_unit_test(what_was_gained_since_a_restore_is_saved),
        cmocka_unit_test(a_restore_that_comes_early_is_the_one_that_costs_bits),
        cmocka_unit_test(the_bound_can_change_between_saves),
        cmocka_unit_test(of_a_parent_the_weights_are_held),
        cmocka_unit_test(weights_that_are_not_finite_stay_exact),
        cmocka_unit_test(failing_allocations_are_errors),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_all);
}
