// SPDX-License-Identifier: Apache-2.0
#include "search/measured.h"

#include <inttypes.h>
#include <string.h>

#include "search/json_fields.h"

static const char format_name[] = "gamut-measured";
enum { MOST_BYTES = 256 << 20, MOST_ROWS = 200000, MOST_IMAGES = 100000000 };

static gm_status read_row(gm__measured_list *l, const gm__fields *f, gm_error *err) {
    char text[1024];
    int64_t images, calibrate;
    gm__measured m = {0};
    gm_error why = {0};
    gm_status status = gm__field_text(f, "choice", text, sizeof text, err);
    if (!status) status = gm__field_whole(f, "images", 1, MOST_IMAGES, &images, err);
    if (!status) status = gm__field_whole(f, "calibrate", 0, MOST_IMAGES, &calibrate, err);
    if (!status) status = gm__field_number(f, "top1", 0, 100, &m.top1, err);
    if (status) return status;
    if (gm_choice_parse(l->space, text, &m.choice, &why) != GM_OK)
        return gm_fail(err, GM_ERR_FORMAT, "%.90s: %s: %.120s", f->what, f->where, why.text);
    m.images = (int)images;
    m.calibrate = (int)calibrate;
    status = gm__measured_add(l, &m, err);
    if (!status) l->unsaved--;
    return status;
}

gm_status gm__measured_parse(gm__measured_list *l, const char *text, size_t bytes, const char *what, gm_error *err) {
    json_t *root = NULL;
    const json_t *list = NULL;
    uint64_t model = 0, settings = 0;
    gm_status status = gm__fields_parse(text, bytes, what, format_name, &root, err);
    gm__fields top = {.object = root, .what = what};
    if (!status) status = gm__field_hash(&top, "model", &model, err);
    if (!status) status = gm__field_hash(&top, "settings", &settings, err);
    if (!status) status = gm__field_array(&top, "subnets", MOST_ROWS, &list, err);
    bool ours = model == l->model && settings == l->settings;
    if (!status && !ours)
        gm_log(GM_LOG_INFO, "%s: its measurements are of %s, they are not used", what,
               model != l->model ? "other weights" : "other data or settings");
    size_t rows = status || !ours ? 0 : json_array_size(list);
    for (size_t i = 0; i < rows && !status; i++) {
        gm__fields row = {.object = json_array_get(list, i), .what = what};
        snprintf(row.where, sizeof row.where, "subnets[%zu]", i);
        status = read_row(l, &row, err);
    }
    json_decref(root);
    return status;
}

gm_status gm__measured_open(gm__measured_list *l, const char *path, const gm_space *space, uint64_t model, uint64_t settings,
                            gm_error *err) {
    *l = (gm__measured_list){.space = space, .model = model, .settings = settings, .path = path};
    if (!path || !gm_path_exists(path)) return GM_OK;
    uint8_t *data = NULL;
    size_t bytes = 0;
    gm_status status = gm_file_read(path, MOST_BYTES, &data, &bytes, err);
    if (!status) status = gm__measured_parse(l, (const char *)data, bytes, path, err);
    gm_free(data);
    if (status) gm__measured_fini(l);
    return status;
}

void gm__measured_fini(gm__measured_list *l) {
    gm_free(l->row);
    l->row = NULL;
    l->rows = l->capacity = 0;
}

const gm__measured *gm__measured_find(const gm__measured_list *l, const gm_choice *choice, int images, int calibrate) {
    for (int i = 0; i < l->rows; i++) {
        const gm__measured *m = &l->row[i];
        if (m->images == images && m->calibrate == calibrate && memcmp(&m->choice, choice, sizeof *choice) == 0) return m;
    }
    return NULL;
}

gm_status gm__measured_add(gm__measured_list *l, const gm__measured *m, gm_error *err) {
    if (l->rows == l->capacity) {
        int capacity = l->capacity * 2 + 64;
        gm__measured *grown = gm_realloc(l->row, (size_t)l->capacity, (size_t)capacity, sizeof *grown);
        if (!grown) return gm_fail(err, GM_ERR_MEMORY, "no memory for %d measured subnets", capacity);
        l->row = grown;
        l->capacity = capacity;
    }
    l->row[l->rows++] = *m;
    l->unsaved++;
    return GM_OK;
}

gm_status gm__measured_save(gm__measured_list *l, gm_error *err) {
    if (!l->path || l->unsaved == 0) return GM_OK;
    char text[1024], model[24], settings[24];
    json_t *list = json_array();
    for (int i = 0; i < l->rows; i++) {
        const gm__measured *m = &l->row[i];
        gm_status status = gm_choice_print(l->space, &m->choice, text, sizeof text, err);
        if (status) {
            json_decref(list);
            return status;
        }
        json_array_append_new(list, json_pack("{s:s, s:i, s:i, s:f}", "choice", text, "images", m->images, "calibrate",
                                              m->calibrate, "top1", m->top1));
    }
    snprintf(model, sizeof model, "%016" PRIx64, l->model);
    snprintf(settings, sizeof settings, "%016" PRIx64, l->settings);
    gm_status status = gm__json_file(json_pack("{s:s, s:i, s:s, s:s, s:o}", "format", format_name, "version", 1, "model", model,
                                               "settings", settings, "subnets", list),
                                     l->path, err);
    if (!status) l->unsaved = 0;
    return status;
}
