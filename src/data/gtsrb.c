// SPDX-License-Identifier: Apache-2.0
// GTSRB, the German traffic signs in the publishers' folders: Final_Training/Images/000CC/ with
// GT-000CC.csv and TTTTT_NNNNN.ppm (track and number within it), Final_Test/Images/NNNNN.ppm with
// GT-final_test.csv. Signs are cut out by the csv's region. Houben et al., IJCNN 2013;
// https://benchmark.ini.rub.de/gtsrb_dataset.html
#include "data/readers.h"

#include <stdio.h>
#include <string.h>

enum { CLASSES = 43, CSV_MAX = 8 << 20 };

static const char *const SIGN[CLASSES] = {"limit 20",
                                          "limit 30",
                                          "limit 50",
                                          "limit 60",
                                          "limit 70",
                                          "limit 80",
                                          "end of limit 80",
                                          "limit 100",
                                          "limit 120",
                                          "no passing",
                                          "no passing for trucks",
                                          "priority at next crossing",
                                          "priority road",
                                          "give way",
                                          "stop",
                                          "no vehicles",
                                          "no trucks",
                                          "no entry",
                                          "danger",
                                          "bend left",
                                          "bend right",
                                          "double bend",
                                          "bumpy road",
                                          "slippery road",
                                          "road narrows",
                                          "road works",
                                          "traffic lights",
                                          "pedestrians",
                                          "children",
                                          "cyclists",
                                          "ice or snow",
                                          "wild animals",
                                          "end of all limits",
                                          "turn right",
                                          "turn left",
                                          "straight on",
                                          "straight or right",
                                          "straight or left",
                                          "keep right",
                                          "keep left",
                                          "roundabout",
                                          "end of no passing",
                                          "end of no passing for trucks"};

// Reads digits at *p into *value; false when there are none or more than five.
static bool digits(const char **p, int *value) {
    int n = 0;
    for (*value = 0; **p >= '0' && **p <= '9' && n < 6; (*p)++, n++)
        *value = *value * 10 + (**p - '0');
    return n >= 1 && n <= 5;
}

// "NNNNN_MMMMM.ppm" or "NNNNN.ppm": a name of another form could lead out of the folder.
static bool parse_name(const char **p, gm__gtsrb_row *row) {
    const char *start = *p;
    int number;
    if (!digits(p, &row->track)) return false;
    if (**p == '_') {
        (*p)++;
        if (!digits(p, &number)) return false;
    }
    if (strncmp(*p, ".ppm", 4) != 0) return false;
    *p += 4;
    size_t length = (size_t)(*p - start);
    if (length >= sizeof row->file) return false;
    memcpy(row->file, start, length);
    row->file[length] = 0;
    return true;
}

// Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId. Width and height are not used: early
// editions have them wrong by a pixel, says the publisher.
static const char *parse_row(const char *p, const char *end, gm__gtsrb_row *row) {
    int field[7];
    if (!parse_name(&p, row)) return "file name is not NNNNN_NNNNN.ppm";
    for (int i = 0; i < 7; i++) {
        if (*p++ != ';' || !digits(&p, &field[i]))
            return "eight fields with ; between are needed (the last: ClassId)";
    }
    if (*p == '\r') p++;
    if (*p != '\n' && p != end) return "more than eight fields";
    row->sign = (gm__rect){field[2], field[3], field[4] - field[2], field[5] - field[3]};
    row->label = field[6];
    if (row->sign.width < 1 || row->sign.height < 1) return "empty region of interest";
    if (row->label >= CLASSES) return "class above 42";
    return NULL;
}

gm_status gm__gtsrb_csv_parse(const char *file, const char *text, size_t count,
                              gm__gtsrb_row **rows, int *row_count, gm_error *err) {
    *rows = NULL;
    *row_count = 0;
    if (strncmp(text, "Filename;", 9) != 0)
        return gm_fail(err, GM_ERR_FORMAT, "%s: offset 0: the first line must start with Filename;",
                       file);
    size_t lines = 1;
    for (size_t i = 0; i < count; i++) lines += text[i] == '\n';
    gm__gtsrb_row *list = gm_alloc(lines, sizeof *list);
    if (!list) return gm_fail(err, GM_ERR_MEMORY, "%s: out of memory for %zu rows", file, lines);
    const char *end = text + count, *line = memchr(text, '\n', count);
    int line_number = 2, n = 0;
    for (line = line ? line + 1 : end; line < end; line_number++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        const char *problem = parse_row(line, end, &list[n]);
        if (problem) {
            gm_free(list);
            return gm_fail(err, GM_ERR_FORMAT, "%s: line %d (offset %zu): %s", file, line_number,
                           (size_t)(line - text), problem);
        }
        n++;
        line = stop ? stop + 1 : end;
    }
    if (n == 0) {
        gm_free(list);
        return gm_fail(err, GM_ERR_FORMAT, "%s: offset %zu: no rows", file, count);
    }
    *rows = list;
    *row_count = n;
    return GM_OK;
}

// One annotation file and the folder of its pictures.
typedef struct sheet {
    char folder[512];
    gm__gtsrb_row *rows;
    int count;
} sheet;

static gm_status read_sheet(const char *csv, sheet *s, gm_error *err) {
    uint8_t *text = NULL;
    size_t bytes;
    gm_status status = gm_file_read(csv, CSV_MAX, &text, &bytes, err);
    if (status != GM_OK) return status;
    status = gm__gtsrb_csv_parse(csv, (const char *)text, bytes, &s->rows, &s->count, err);
    gm_free(text);
    return status;
}

// Finds the first of several places below the folder.
static gm_status find(const char *folder, const char *const *places, char path[512],
                      gm_error *err) {
    for (int i = 0; places[i]; i++)
        if (gm__path(path, folder, places[i], NULL) == GM_OK && gm_path_exists(path)) return GM_OK;
    return gm_fail(err, GM_ERR_NOT_FOUND, "%s/%s is not there; see docs/data.md", folder,
                   places[0]);
}

static gm_status read_training(const char *folder, sheet *sheets, gm_error *err) {
    static const char *const places[] = {"Final_Training/Images", "GTSRB/Final_Training/Images",
                                         "Training", "GTSRB/Training", NULL};
    char root[512], csv[512];
    gm_status status = find(folder, places, root, err);
    for (int c = 0; c < CLASSES && status == GM_OK; c++) {
        char name[32];
        snprintf(name, sizeof name, "%05d", c);
        status = gm__path(sheets[c].folder, root, name, err);
        if (status != GM_OK) break;
        snprintf(name, sizeof name, "GT-%05d.csv", c);
        status = gm__path(csv, sheets[c].folder, name, err);
        if (status == GM_OK) status = read_sheet(csv, &sheets[c], err);
        for (int i = 0; i < sheets[c].count && status == GM_OK; i++)
            if (sheets[c].rows[i].label != c)
                status =
                    gm_fail(err, GM_ERR_FORMAT, "%s: line %d: class %d in the folder of class %d",
                            csv, i + 2, sheets[c].rows[i].label, c);
    }
    return status;
}

static gm_status read_test(const char *folder, sheet *s, gm_error *err) {
    static const char *const places[] = {"Final_Test/Images", "GTSRB/Final_Test/Images", NULL};
    static const char *const sheets[] = {"GT-final_test.csv",
                                         "Final_Test/GT-final_test.csv",
                                         "Final_Test/Images/GT-final_test.csv",
                                         "GTSRB/GT-final_test.csv",
                                         "GTSRB/Final_Test/GT-final_test.csv",
                                         "GTSRB/Final_Test/Images/GT-final_test.csv",
                                         NULL};
    char csv[512];
    gm_status status = find(folder, places, s->folder, err);
    if (status == GM_OK) status = find(folder, sheets, csv, err);
    return status == GM_OK ? read_sheet(csv, s, err) : status;
}

// All sheets of a part; total may be checked before anything is allocated for pictures.
static gm_status read_part(const char *folder, gm_part part, sheet *sheets, int *total,
                           gm_error *err) {
    gm_status status =
        part == GM_PART_TRAIN ? read_training(folder, sheets, err) : read_test(folder, sheets, err);
    *total = 0;
    for (int i = 0; i < CLASSES; i++) *total += sheets[i].count;
    return status;
}

static void free_sheets(sheet *sheets) {
    if (sheets)
        for (int i = 0; i < CLASSES; i++) gm_free(sheets[i].rows);
    gm_free(sheets);
}

static gm_status load_sign(const sheet *s, const gm__gtsrb_row *row, int size, uint8_t *out,
                           gm_error *err) {
    char path[512];
    uint8_t *bytes = NULL;
    size_t count;
    gm__picture picture = {0};
    gm_status status = gm__path(path, s->folder, row->file, err);
    if (status == GM_OK) status = gm_file_read(path, GM__PICTURE_FILE_MAX, &bytes, &count, err);
    if (status == GM_OK) status = gm__ppm_decode(path, bytes, count, &picture, err);
    gm_free(bytes);
    if (status != GM_OK) return status;
    gm__rect sign = row->sign;
    if (sign.x + sign.width > picture.width || sign.y + sign.height > picture.height)
        status =
            gm_fail(err, GM_ERR_FORMAT,
                    "%s: offset 2: picture of %d x %d, but the csv's region ends at %d, %d", path,
                    picture.width, picture.height, sign.x + sign.width, sign.y + sign.height);
    else
        status = gm__picture_resize(&picture, sign, size, out, err);
    gm__picture_fini(&picture);
    return status;
}

gm_status gm__gtsrb_check(const char *name, const char *folder, gm_part part, int *images,
                          gm_error *err) {
    (void)name;
    sheet *sheets = gm_alloc(CLASSES, sizeof *sheets);
    if (!sheets) return gm_fail(err, GM_ERR_MEMORY, "out of memory");
    gm_status status = read_part(folder, part, sheets, images, err);
    free_sheets(sheets);
    return status;
}

gm_status gm__gtsrb_load(const char *name, const char *folder, gm_part part, int size,
                         gm_dataset **out, gm_error *err) {
    bool train = part == GM_PART_TRAIN;
    int side = size ? size : 32, total, done = 0;
    gm_dataset *d = NULL;
    sheet *sheets = gm_alloc(CLASSES, sizeof *sheets);
    if (!sheets)
        return gm_fail(err, GM_ERR_MEMORY, "out of memory for the annotations of %s", folder);
    gm_status status = read_part(folder, part, sheets, &total, err);
    if (status != GM_OK) goto done;
    status = gm__dataset_new(name, (size_t)total, side, side, 3, CLASSES, train, &d, err);
    if (status != GM_OK) goto done;
    for (int c = 0; c < CLASSES; c++)
        for (int i = 0; i < sheets[c].count; i++, done++) {
            const gm__gtsrb_row *row = &sheets[c].rows[i];
            d->labels[done] = row->label;
            if (train)
                d->group[done] = c * 100000 + row->track; // tracks are numbered within a class
            status = load_sign(&sheets[c], row, side,
                               d->pixels + (size_t)done * (size_t)(side * side * 3), err);
            if (status != GM_OK) goto done;
        }
    status = gm__dataset_name_classes(d, SIGN, err);
done:
    free_sheets(sheets);
    if (status != GM_OK) {
        gm_dataset_destroy(d);
        d = NULL;
    }
    *out = d;
    return status;
}
