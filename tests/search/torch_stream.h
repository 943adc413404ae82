// SPDX-License-Identifier: Apache-2.0
// Just enough of the old torch stream to read the published predictors, which hold contiguous f32 tensors: names and
// storage keys are the texts of the fourth pickle, the storages follow the fifth in the order of its keys (specs: training
// 6.1). A test's helper for two known files, not a parser for others.
#ifndef GAMUT_TESTS_TORCH_STREAM_H
#define GAMUT_TESTS_TORCH_STREAM_H

#include "search_test.h"

enum { TORCH_MOST = 16 };
typedef struct torch_tensor {
    char name[40], key[24];
    int64_t count;
    float *data; // owned
} torch_tensor;
typedef struct torch_stream {
    torch_tensor tensor[TORCH_MOST];
    int tensors;
} torch_stream;

static inline bool torch_is_digits(const char *text) { return text[0] && strspn(text, "0123456789") == strlen(text); }

static inline void torch_close(torch_stream *s) {
    for (int i = 0; i < s->tensors; i++) gm_free(s->tensor[i].data);
}

static inline const torch_tensor *torch_find(const torch_stream *s, const char *name) {
    for (int i = 0; i < s->tensors; i++)
        if (strcmp(s->tensor[i].name, name) == 0) return &s->tensor[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

static inline void torch_open(const char *path, torch_stream *s) {
    uint8_t *d;
    size_t bytes, at = 0, seen = 0;
    gm_error err = {0};
    memset(s, 0, sizeof *s);
    assert_ok(gm_file_read(path, 1 << 26, &d, &bytes, &err));
    char key[TORCH_MOST][24], name[40] = "";
    int keys = 0, stops = 0;
    // Walks texts (opcode X, u32 length) up to the end of the last list; bytes in between are stepped over one by one.
    for (; at < bytes && stops < 1; at++) {
        uint32_t length = at + 5 <= bytes ? (uint32_t)d[at + 1] | (uint32_t)d[at + 2] << 8 | (uint32_t)d[at + 3] << 16 | (uint32_t)d[at + 4] << 24 : 0;
        if (d[at] == 'X' && length > 0 && length < 40 && at + 5 + length <= bytes) {
            char text[40] = "";
            memcpy(text, d + at + 5, length);
            bool listed = false;
            for (int i = 0; i < s->tensors && torch_is_digits(text); i++) listed |= strcmp(s->tensor[i].key, text) == 0;
            if (torch_is_digits(text) && listed && seen == (size_t)s->tensors) {
                if (keys < TORCH_MOST) snprintf(key[keys++], 24, "%.20s", text); // the list of the fifth pickle
            } else if (torch_is_digits(text) && s->tensors < TORCH_MOST && name[0]) {
                torch_tensor *t = &s->tensor[s->tensors++];
                snprintf(t->name, sizeof t->name, "%s", name);
                snprintf(t->key, sizeof t->key, "%.20s", text);
                name[0] = '\0';
                seen = (size_t)s->tensors;
            } else if (strstr(text, "weight") || strstr(text, "bias") || strcmp(text, "base_acc") == 0) {
                snprintf(name, sizeof name, "%s", text);
            }
            at += 4 + length;
        } else if (d[at] == '.' && keys > 0 && keys == s->tensors) {
            stops = 1; // the fifth pickle ends
        }
    }
    assert_int_equal(keys, s->tensors);
    for (int k = 0; k < keys; k++) {
        int64_t count;
        assert_true(at + 8 <= bytes);
        memcpy(&count, d + at, 8);
        at += 8;
        assert_true(count > 0 && (size_t)count * 4 <= bytes - at);
        for (int i = 0; i < s->tensors; i++) {
            if (strcmp(s->tensor[i].key, key[k]) != 0) continue;
            s->tensor[i].count = count;
            s->tensor[i].data = gm_alloc((size_t)count, 4);
            memcpy(s->tensor[i].data, d + at, (size_t)count * 4);
        }
        at += (size_t)count * 4;
    }
    assert_int_equal(at, bytes);
    gm_free(d);
}

#endif
