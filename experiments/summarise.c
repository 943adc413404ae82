// SPDX-License-Identifier: Apache-2.0
// Tables and curves from the logs of training runs.
//   summarise strategies DIR EXPERIMENT.json   DIR/STRATEGY-SEED/log.jsonl: strategies at equal cost
//   summarise alone DIR                        DIR/supernet-SEED and DIR/alone-SEED-N: subnets against the same ones alone
// Both write DIR/results.json and DIR/results.md, the first DIR/curves.svg too.
#include "summarise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

spread spread_of(const double *values, int count) {
    spread s = {.deviation = NAN};
    double sum = 0, squares = 0;
    for (int i = 0; i < count; i++) {
        if (isnan(values[i])) continue;
        sum += values[i];
        s.count++;
    }
    s.mean = s.count > 0 ? sum / s.count : NAN;
    for (int i = 0; i < count; i++)
        if (!isnan(values[i])) squares += (values[i] - s.mean) * (values[i] - s.mean);
    if (s.count > 1) s.deviation = sqrt(squares / (s.count - 1));
    return s;
}

void text_percent(char text[48], spread s) {
    if (s.count == 0) {
        snprintf(text, 48, "-");
    } else if (s.count == 1) {
        snprintf(text, 48, "%.2f", s.mean);
    } else {
        snprintf(text, 48, "%.2f ± %.2f", s.mean, s.deviation);
    }
}

void text_macs(char text[48], double macs) {
    static const char *const units[] = {"", " k", " M", " G", " T", " P"};
    int unit = 0;
    while (macs >= 1000 && unit < 5) {
        macs /= 1000;
        unit++;
    }
    if (isnan(macs)) {
        snprintf(text, 48, "-");
    } else {
        snprintf(text, 48, unit > 0 ? "%.1f%s" : "%.0f%s", macs, units[unit]);
    }
}

void text_duration(char text[48], double seconds) {
    if (isnan(seconds)) {
        snprintf(text, 48, "-");
    } else if (seconds < 90) {
        snprintf(text, 48, "%.0f s", seconds);
    } else {
        snprintf(text, 48, "%.1f min", seconds / 60);
    }
}

gm_status page_open(page *p, gm_error *err) {
    *p = (page){0};
    p->stream = open_memstream(&p->text, &p->bytes);
    return p->stream != NULL ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "out of memory");
}

gm_status page_write(page *p, const char *folder, const char *name, gm_error *err) {
    char path[1024];
    bool whole = fclose(p->stream) == 0;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    gm_status status = whole ? gm_file_write(path, p->text, p->bytes, err)
                             : gm_fail(err, GM_ERR_MEMORY, "out of memory for %.150s", path);
    free(p->text); // of open_memstream
    return status;
}

gm_status write_json(json_t *value, const char *folder, const char *name, gm_error *err) {
    page p;
    gm_status status = page_open(&p, err);
    if (status == GM_OK) {
        json_dumpf(value, p.stream, JSON_INDENT(1) | JSON_REAL_PRECISION(12));
        fputc('\n', p.stream);
        status = page_write(&p, folder, name, err);
    }
    json_decref(value);
    return status;
}

json_t *json_known(double value) { return isfinite(value) ? json_real(value) : json_null(); }

void machine_text(const char *folder, char text[256]) {
    char path[1024];
    snprintf(path, sizeof path, "%s/machine.json", folder);
    text[0] = '\0';
    json_t *machine = json_load_file(path, 0, NULL);
    const char *model = json_string_value(json_object_get(machine, "cpu_model"));
    const char *level = json_string_value(json_object_get(machine, "cpu"));
    int threads = (int)json_integer_value(json_object_get(machine, "threads"));
    if (model != NULL && level != NULL) snprintf(text, 256, "%.120s, %.20s, %d threads", model, level, threads);
    json_decref(machine);
}

int main(int argc, char **argv) {
    gm_error err = {0};
    gm_status status;
    if (argc == 4 && strcmp(argv[1], "strategies") == 0) {
        status = summarise_strategies(argv[2], argv[3], &err);
    } else if (argc == 3 && strcmp(argv[1], "alone") == 0) {
        status = summarise_alone(argv[2], 1.0, &err);
    } else {
        fprintf(stderr, "usage: summarise strategies DIR EXPERIMENT.json\n       summarise alone DIR\n");
        return 2;
    }
    if (status != GM_OK) fprintf(stderr, "summarise: %s\n", err.text);
    return status == GM_OK ? 0 : 1;
}
