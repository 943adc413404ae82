// SPDX-License-Identifier: Apache-2.0
#include "port/names.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

// Replaces the first `from` in text by `to`, which is not longer.
static void replace(char *text, const char *from, const char *to) {
    char *at = strstr(text, from);
    if (!at) return;
    size_t from_length = strlen(from), to_length = strlen(to);
    memcpy(at, to, to_length);
    memmove(at + to_length, at + from_length, strlen(at + from_length) + 1);
}

static void plain(char *out) {
    size_t length = strlen(out), tail = strlen(".conv.conv.weight");
    replace(out, ".bn.bn.", ".bn.");
    replace(out, ".linear.linear.", ".linear.");
    if (length >= tail && strcmp(out + length - tail, ".conv.conv.weight") == 0)
        strcpy(out + length - tail, ".conv.weight");
    replace(out, ".mobile_inverted_conv.", ".conv.");
}

void gm__name_plain(const char *name, char *out, size_t size) {
    snprintf(out, size, "%s", name);
    plain(out);
}

void gm__name_key(const char *name, char *out, size_t size) {
    size_t before;
    snprintf(out, size, "%s", name);
    do {
        before = strlen(out);
        plain(out);
    } while (strlen(out) < before);
}

// The number that the component of `name` at `at` is, or -1: not all digits.
static long number_at(const char *name, size_t at) {
    size_t length = strcspn(name + at, ".");
    if (length == 0 || length > 6) return -1;
    for (size_t i = 0; i < length; i++)
        if (!isdigit((unsigned char)name[at + i])) return -1;
    return strtol(name + at, NULL, 10);
}

// How many smaller numbers stand at this place behind the same beginning.
static int rank_of(const char *const *names, int count, const char *name, size_t at, long number) {
    int rank = 0;
    for (long smaller = 0; smaller < number; smaller++)
        for (int i = 0; i < count; i++)
            if (strncmp(names[i], name, at) == 0 && number_at(names[i], at) == smaller) {
                rank++;
                break;
            }
    return rank;
}

void gm__names_renumber(const char *const *names, int count, char *out, size_t size) {
    for (int i = 0; i < count; i++) {
        const char *name = names[i];
        char *row = out + (size_t)i * size;
        size_t used = 0;
        for (size_t at = 0; used + 1 < size;) {
            size_t length = strcspn(name + at, ".");
            long number = number_at(name, at);
            int n = number >= 0 ? snprintf(row + used, size - used, "%d", rank_of(names, count, name, at, number))
                                : snprintf(row + used, size - used, "%.*s", (int)length, name + at);
            used += (size_t)n;
            at += length;
            if (name[at] == '\0' || used + 1 >= size) break;
            row[used++] = '.';
            row[used] = '\0';
            at++;
        }
    }
}
