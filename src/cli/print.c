// SPDX-License-Identifier: Apache-2.0
// What the subcommands print: tables for people, JSON for programs.
#include "cli.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

struct gm__table {
    int columns, cells, capacity;
    const char *align;
    char **cell; // owned texts, row by row, the titles first
};

gm__table *gm__table_create(int columns, const char *const *titles, const char *align) {
    gm__table *table = gm_alloc(1, sizeof *table);
    if (table == NULL) return NULL;
    table->columns = columns;
    table->align = align;
    for (int i = 0; i < columns; i++) gm__table_cell(table, "%s", titles[i]);
    return table;
}

void gm__table_cell(gm__table *table, const char *format, ...) {
    enum { GROW = 64 };
    if (table == NULL) return;
    if (table->cells == table->capacity) {
        size_t old = (size_t)table->capacity;
        char **grown = gm_realloc(table->cell, old, old + GROW, sizeof *table->cell);
        if (grown == NULL) return; // a row too few is shown; the program goes on
        table->cell = grown;
        table->capacity += GROW;
    }
    va_list list, again;
    va_start(list, format);
    va_copy(again, list);
    int length = vsnprintf(NULL, 0, format, list);
    va_end(list);
    char *text = gm_alloc((size_t)gm_max(length, 0) + 1, 1);
    if (text != NULL && length > 0) vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    if (text != NULL) table->cell[table->cells++] = text;
}

static int column_width(const gm__table *table, int column) {
    int width = 0;
    for (int i = column; i < table->cells; i += table->columns)
        width = gm_max(width, (int)strlen(table->cell[i]));
    return width;
}

int gm__table_print(gm__table *table) {
    if (table == NULL) {
        fprintf(stderr, "gamut: out of memory\n");
        return GM__EXIT_FAILED;
    }
    for (int i = 0; i < table->cells; i++) {
        int column = i % table->columns, width = column_width(table, column);
        bool last = column == table->columns - 1, right = table->align[column] == 'r';
        printf("%s%*s%s", column == 0 ? "" : "  ",
               right  ? width
               : last ? 0
                      : -width,
               table->cell[i], last ? "\n" : "");
    }
    gm__table_free(table);
    return GM__EXIT_DONE;
}

void gm__table_free(gm__table *table) {
    if (table == NULL) return;
    for (int i = 0; i < table->cells; i++) gm_free(table->cell[i]);
    gm_free(table->cell);
    gm_free(table);
}

const char *gm__text_count(double value, char text[GM__TEXT_SHORT]) {
    static const char *const units[] = {"", " k", " M", " G", " T", " P", " E"};
    int unit = 0;
    double shown = value;
    while (shown >= 999.95 && unit < 6) {
        shown /= 1000.0;
        unit++;
    }
    snprintf(text, GM__TEXT_SHORT,
             unit == 0       ? "%.0f%s"
             : shown < 9.995 ? "%.2f%s"
                             : "%.1f%s",
             shown, units[unit]);
    return text;
}

const char *gm__text_time(double seconds, char text[GM__TEXT_SHORT]) {
    long whole = lround(fmax(seconds, 0.0));
    if (whole >= 3600) {
        snprintf(text, GM__TEXT_SHORT, "%ld h %02ld min", whole / 3600, whole / 60 % 60);
    } else if (whole >= 60) {
        snprintf(text, GM__TEXT_SHORT, "%ld min %02ld s", whole / 60, whole % 60);
    } else {
        snprintf(text, GM__TEXT_SHORT, "%.1f s", fmax(seconds, 0.0));
    }
    return text;
}

json_t *gm__json_number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

int gm__json_print(json_t *value) {
    if (value == NULL || json_dumpf(value, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12)) != 0) {
        fprintf(stderr, "gamut: cannot write JSON to standard output\n");
        json_decref(value);
        return GM__EXIT_FAILED;
    }
    putchar('\n');
    json_decref(value);
    return GM__EXIT_DONE;
}

gm_status gm__choice_text(const gm_space *space, const gm_choice *choice,
                          char text[GM__TEXT_CHOICE], char id[GM__TEXT_SHORT], gm_error *err) {
    snprintf(id, GM__TEXT_SHORT, "%016" PRIx64, gm_choice_id(space, choice));
    return gm_choice_print(space, choice, text, GM__TEXT_CHOICE, err);
}
