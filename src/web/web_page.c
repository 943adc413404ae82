// SPDX-License-Identifier: Apache-2.0
// Puts a page together: the template, and in it styles, scripts and data.
#include "assets.h"

#include <string.h>

enum { NAME_BYTES = 64 };

typedef struct text { // grows; failed once, failed for good
    char *data;
    size_t bytes, capacity;
    bool failed;
} text;

static void append(text *t, const char *data, size_t bytes) {
    size_t needed = 0;
    if (t->failed || bytes == 0) return;
    if (!gm_add_size(t->bytes, bytes, &needed) || !gm_add_size(needed, 1, &needed)) {
        t->failed = true;
        return;
    }
    if (needed > t->capacity) {
        size_t capacity = needed + needed / 2;
        char *grown = gm_realloc(t->data, t->capacity, capacity, 1);
        if (grown == NULL) {
            t->failed = true;
            return;
        }
        t->data = grown;
        t->capacity = capacity;
    }
    memcpy(t->data + t->bytes, data, bytes);
    t->bytes += bytes;
    t->data[t->bytes] = '\0';
}

// Inside a script element only </script and <!-- mean anything to a browser, and in JSON a < stands in strings only.
static void append_json(text *t, const char *json) {
    for (;;) {
        size_t plain = strcspn(json, "<");
        append(t, json, plain);
        json += plain;
        if (*json == '\0') return;
        append(t, "\\u003c", 6);
        json++;
    }
}

const gm_web_asset *gm_web_find(const char *name) {
    for (const gm_web_asset *a = gm__web_assets; a->name != NULL; a++)
        if (strcmp(a->name, name) == 0) return a;
    return NULL;
}

// {{NAME}} at `at`, with NAME known: appends what it stands for and returns the bytes of the mark; 0: no such mark.
static size_t replace(text *t, const char *at, const char *json) {
    char name[NAME_BYTES] = "";
    const char *end = strstr(at, "}}");
    if (end == NULL || end - at - 2 >= NAME_BYTES) return 0;
    memcpy(name, at + 2, (size_t)(end - at - 2));
    const gm_web_asset *asset = gm_web_find(name);
    if (strcmp(name, "data") == 0) append_json(t, json != NULL ? json : "null");
    else if (asset != NULL) append(t, (const char *)asset->data, asset->bytes);
    else return 0;
    return (size_t)(end - at) + 2;
}

gm_status gm_web_page(const char *name, const char *json, char **page, size_t *bytes, gm_error *err) {
    *page = NULL;
    *bytes = 0;
    const gm_web_asset *base = gm_web_find(name);
    if (base == NULL) return gm_fail(err, GM_ERR_NOT_FOUND, "there is no page '%.60s'", name);
    text t = {0};
    const char *at = (const char *)base->data;
    for (const char *mark; (mark = strstr(at, "{{")) != NULL;) {
        append(&t, at, (size_t)(mark - at));
        size_t skip = replace(&t, mark, json);
        if (skip == 0) append(&t, mark, 2);
        at = mark + (skip > 0 ? skip : 2);
    }
    append(&t, at, strlen(at));
    if (t.failed) {
        gm_free(t.data);
        return gm_fail(err, GM_ERR_MEMORY, "out of memory for the page %.60s", name);
    }
    *page = t.data;
    *bytes = t.bytes;
    return GM_OK;
}
