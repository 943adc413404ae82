// SPDX-License-Identifier: Apache-2.0
// What runs leave behind: any bytes are read or refused with a word, and every cell of a row that is handed over lies within
// its column's bounds. A line ==== parts a file from the one that belongs to it (a recipe, the fates of requests).
#include "report/kinds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void require(bool holds) {
    if (!holds) abort();
}

static gm_status check_row(void *context, const gm__report_table *table, const gm__cell *cells, gm_error *err) {
    (void)context, (void)err;
    require(table->name != NULL);
    for (int i = 0; i < GM__MOST_COLUMNS && table->column[i].name != NULL; i++) {
        const gm__column *column = &table->column[i];
        if (!cells[i].filled) {
            require(!column->required);
        } else if (column->kind == GM__TEXT) {
            require(cells[i].text != NULL && strlen(cells[i].text) <= GM__MOST_TEXT);
        } else {
            require(cells[i].number >= column->min && cells[i].number <= column->max);
            require(column->kind != GM__INTEGER || cells[i].number == nearbyint(cells[i].number));
        }
    }
    return GM_OK;
}

static void read_as(gm__files files, bool lines) {
    static const gm__sink sink = {check_row, NULL};
    gm_error err = {0};
    char beside[64];
    json_t *first = gm__first_value(files.main, lines);
    const gm__kind *kind = gm__kind_of(first, lines);
    if (kind != NULL) {
        kind->beside("folder/file.json", first, beside, sizeof beside);
        require(strlen(beside) < sizeof beside);
        if (kind->read(&files, &sink, &err) != GM_OK) require(err.text[0] != '\0');
    }
    json_decref(first);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static const char mark[] = "\n====\n";
    char *text = gm_alloc(bytes + 1, 1); // readers are given texts that end with a NUL
    if (text == NULL) return 0;
    if (bytes > 0) memcpy(text, data, bytes);
    gm__files files = {{text, bytes}, {NULL, 0}};
    char *parted = memmem(text, bytes, mark, sizeof mark - 1);
    if (parted != NULL) {
        files.beside = (gm__bytes){parted + sizeof mark - 1, bytes - (size_t)(parted - text) - (sizeof mark - 1)};
        files.main.bytes = (size_t)(parted - text) + 1;
        parted[1] = '\0'; // keeps the line feed
    }
    read_as(files, false);
    read_as(files, true);
    gm_free(text);
    return 0;
}
