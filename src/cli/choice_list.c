// SPDX-License-Identifier: Apache-2.0
#include "choice_list.h"

#include <gamut/search.h>

#include <string.h>

enum { ALL_LIMIT = 2000, LIST_BYTES = 1 << 20 };

static bool append(void *context, const gm_choice *choice) {
    gm__choice_list *list = context;
    if (list->count == list->capacity) {
        size_t old = (size_t)list->capacity, grown = old > 0 ? old * 2 : 64;
        gm_choice *choices = gm_realloc(list->choice, old, grown, sizeof *choices);
        if (choices == NULL) {
            list->out_of_memory = true;
            return false;
        }
        list->choice = choices;
        list->capacity = (int)grown;
    }
    list->choice[list->count++] = *choice;
    return true;
}

static gm_status append_new(gm__choice_list *list, const gm_space *space, gm_choice choice,
                            gm_error *err) {
    choice = gm_choice_canonical(space, choice);
    for (int i = 0; i < list->count; i++) {
        if (gm_choice_equal(space, &list->choice[i], &choice)) return GM_OK;
    }
    append(list, &choice);
    return list->out_of_memory ? gm_fail(err, GM_ERR_MEMORY, "out of memory") : GM_OK;
}

static gm_status parse_one(const gm_space *space, const char *text, gm__choice_list *list,
                           gm_error *err) {
    gm_choice choice;
    gm_status status = gm_choice_parse(space, text, &choice, err);
    return status == GM_OK ? append_new(list, space, choice, err) : status;
}

// One choice a line; empty lines and lines that start with # are skipped.
static gm_status parse_lines(const gm_space *space, const char *path, gm__choice_list *list,
                             gm_error *err) {
    uint8_t *data = NULL;
    size_t bytes = 0;
    gm_error line_error = {0};
    gm_status status = gm_file_read(path, LIST_BYTES, &data, &bytes, err);
    int number = 0;
    char *rest = (char *)data;
    for (char *line = status == GM_OK ? strsep(&rest, "\n") : NULL; line != NULL;
         line = strsep(&rest, "\n")) {
        number++;
        line[strcspn(line, "\r")] = '\0';
        line += strspn(line, " \t");
        if (line[0] == '\0' || line[0] == '#') continue;
        status = parse_one(space, line, list, &line_error);
        if (status != GM_OK) {
            gm_fail(err, status, "%.100s:%d: %.140s", path, number, line_error.text);
            break;
        }
    }
    gm_free(data);
    return status;
}

static gm_status take_profile(const gm_space *space, const char *path, gm__choice_list *list,
                              gm_error *err) {
    gm_profile profile;
    uint64_t model;
    gm_error why = {0};
    gm_status status = gm_profile_load(path, &profile, &model, err);
    for (int i = 0; status == GM_OK && i < profile.subnets; i++) {
        status = parse_one(space, profile.subnet[i].choice, list, &why);
        if (status != GM_OK)
            gm_fail(err, status, "%.100s: subnets[%d]: %.120s", path, i, why.text);
    }
    gm_profile_fini(&profile);
    return status;
}

static gm_status take_front(const gm_space *space, const char *path, gm__choice_list *list,
                            gm_error *err) {
    gm_search_result found;
    uint64_t model;
    gm_status status = gm_search_load(path, space, &found, &model, err);
    if (status != GM_OK && strstr(err->text, "format gamut-profile") != NULL)
        return take_profile(space, path, list, err);
    for (int i = 0; status == GM_OK && i < found.front_count; i++)
        status = append_new(list, space, found.front[i].choice, err);
    gm_search_result_fini(&found);
    return status;
}

static bool ends_with(const char *word, const char *ending) {
    size_t length = strlen(word), tail = strlen(ending);
    return length >= tail && strcmp(word + length - tail, ending) == 0;
}

gm_status gm__choice_list_add(gm__choice_list *list, const gm_space *space, const char *word,
                              gm_error *err) {
    if (strcmp(word, "all") == 0) {
        gm_status status = gm_space_enumerate(space, ALL_LIMIT, append, list, err);
        if (status == GM_ERR_RANGE) {
            return gm_fail(err, status,
                           "--choices all: this space has more than %d subnets; name the wanted "
                           "ones, or give a file of them",
                           ALL_LIMIT);
        }
        return status == GM_OK && list->out_of_memory ? gm_fail(err, GM_ERR_MEMORY, "out of memory")
                                                      : status;
    }
    if (strchr(word, '=') == NULL && gm_path_exists(word)) {
        return ends_with(word, ".json") ? take_front(space, word, list, err)
                                        : parse_lines(space, word, list, err);
    }
    return parse_one(space, word, list, err);
}

void gm__choice_list_free(gm__choice_list *list) {
    gm_free(list->choice);
    *list = (gm__choice_list){0};
}
