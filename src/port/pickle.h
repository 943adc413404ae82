// SPDX-License-Identifier: Apache-2.0
// The part of the pickle language that torch.save writes for state dicts, turned into a tree of inert values. Nothing
// is imported or called: the few globals are names with a fixed meaning, any other is an error.
#ifndef GAMUT_PORT_PICKLE_H
#define GAMUT_PORT_PICKLE_H

#include <gamut/base.h>

typedef enum gm__pickle_kind {
    GM__PICKLE_NONE,
    GM__PICKLE_BOOL,
    GM__PICKLE_INT,
    GM__PICKLE_FLOAT,
    GM__PICKLE_TEXT,
    GM__PICKLE_TUPLE,
    GM__PICKLE_LIST,
    GM__PICKLE_DICT,
    GM__PICKLE_GLOBAL,
    GM__PICKLE_STORAGE,
    GM__PICKLE_TENSOR
} gm__pickle_kind;

// Element types of storages.
typedef enum gm__torch_type {
    GM__TORCH_FLOAT,
    GM__TORCH_DOUBLE,
    GM__TORCH_HALF,
    GM__TORCH_BFLOAT16,
    GM__TORCH_LONG,
    GM__TORCH_INT,
    GM__TORCH_SHORT,
    GM__TORCH_CHAR,
    GM__TORCH_BYTE,
    GM__TORCH_BOOL,
    GM__TORCH_TYPES
} gm__torch_type;
size_t gm__torch_type_size(gm__torch_type type);

typedef struct gm__pickle_value {
    gm__pickle_kind kind;
    int first, last, count; // tuple, list, dict: cells; a dict has key and value cells in turn, count of both
    union {
        int64_t whole; // int, bool; global: its number
        double real;
        struct {
            const uint8_t *text; // in the file's bytes, not terminated
            size_t length;
        } text;
        struct {
            int64_t elements;
            int key; // a text value
            gm__torch_type type;
        } storage;
        struct {
            int64_t offset;
            int storage, size, stride; // values: a storage and two tuples
        } tensor;
    } u;
} gm__pickle_value;

typedef struct gm__pickle_cell {
    int value, next; // -1 ends a chain
} gm__pickle_cell;

typedef struct gm__pickle {
    gm__pickle_value *value;
    gm__pickle_cell *cell;
    int *stack, *memo;
    int values, values_cap, cells, cells_cap, depth, depth_cap, memos, memos_cap;
    const char *what; // names the file in errors
    const uint8_t *data;
    size_t bytes, at;
} gm__pickle;

// Reads one pickle from data[at .. bytes); *end: the byte after its STOP. The values live in p until gm__pickle_fini;
// texts point into data. *root: the number of the value.
gm_status gm__pickle_read(gm__pickle *p, const char *what, const uint8_t *data, size_t bytes, size_t at, size_t *end,
                          int *root, gm_error *err);
void gm__pickle_fini(gm__pickle *p);
bool gm__pickle_text_is(const gm__pickle *p, int value, const char *text);
// The value behind a text key of a dict, -1: absent.
int gm__pickle_lookup(const gm__pickle *p, int dict, const char *key);

#endif
