// SPDX-License-Identifier: Apache-2.0
// Options of the subcommands: one table a command, on top of getopt_long, and the help page that
// follows from it.
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_OPTIONS = 40, COMMON = 6, HELP_COLUMN = 26 };

typedef struct common_values {
    bool help, json, quiet, verbose;
    int threads;
    const char *seed;
} common_values;

bool gm__same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

int gm__failed(const gm_error *err) {
    fflush(stdout);
    const char *text = err->text[0] != '\0' ? err->text : gm_status_text(err->status);
    fprintf(stderr, "gamut: %s\n", text);
    return GM__EXIT_FAILED;
}

int gm__usage_error(const gm__command *command, const char *format, ...) {
    fflush(stdout);
    fprintf(stderr, "gamut %s: ", command->name);
    va_list list;
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fprintf(stderr, "\nusage: gamut %s %s\n'gamut %s --help' shows the options and an example.\n",
            command->name, command->arguments, command->name);
    return GM__EXIT_USAGE;
}

void gm__list_free(gm__list *list) {
    gm_free(list->item);
    *list = (gm__list){0};
}

bool gm__parse_number(const char *text, double min, double max, double *out) {
    char *end = NULL;
    if (text[0] == '\0' || strchr(" \t\n", text[0]) != NULL) return false;
    errno = 0;
    double value = strtod(text, &end);
    if (*end != '\0' || !isfinite(value) || !(value >= min && value <= max)) return false;
    *out = value;
    return true;
}

bool gm__parse_integer(const char *text, int64_t min, int64_t max, int64_t *out) {
    char *end = NULL;
    if (text[0] == '\0' || strchr(" \t\n", text[0]) != NULL) return false;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (*end != '\0' || errno != 0 || value < min || value > max) return false;
    *out = value;
    return true;
}

bool gm__parse_unsigned(const char *text, uint64_t *out) {
    char *end = NULL;
    if (text[0] < '0' || text[0] > '9') return false; // strtoull would accept a minus sign
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*end != '\0' || errno != 0) return false;
    *out = value;
    return true;
}

static int edit_distance(const char *a, const char *b) {
    enum { MAX_WORD = 40 };
    int row[MAX_WORD + 1];
    size_t n = strlen(a), m = strlen(b);
    if (n > MAX_WORD || m > MAX_WORD) return MAX_WORD;
    for (size_t j = 0; j <= m; j++) row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int keep = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = gm_min(keep, gm_min(row[j], row[j - 1]) + 1);
        }
    }
    return row[m];
}

const char *gm__nearest(const char *word, const char *const *candidates) {
    const char *best = NULL;
    size_t length = strlen(word);
    int limit = length < 4 ? 2 : (int)length / 2 + 1,
        best_distance = limit; // farther is not what was meant
    for (; *candidates != NULL; candidates++) {
        bool prefix = length >= 2 && strncmp(word, *candidates, length) == 0;
        int distance = prefix ? 1 : edit_distance(word, *candidates);
        if (distance < best_distance) {
            best = *candidates;
            best_distance = distance;
        }
    }
    return best;
}

static void show_option(const gm__option *option) {
    char left[64];
    snprintf(left, sizeof left, "--%s%s%s", option->name, option->value != NULL ? " " : "",
             option->value != NULL ? option->value : "");
    printf("  %-*s %s\n", HELP_COLUMN, left, option->help);
}

static void show_help(const gm__command *command, const gm__option *own, const gm__option *common) {
    printf("usage: gamut %s %s\n\n%s\n", command->name, command->arguments, command->detail);
    if (own != NULL && own->name != NULL) printf("\noptions:\n");
    for (; own != NULL && own->name != NULL; own++) show_option(own);
    printf("\ncommon options:\n");
    for (; common->name != NULL; common++) show_option(common);
    printf("\nexample:\n%s\n", command->example);
}

static int set_option(const gm__command *command, const gm__option *option, const char *text,
                      int argc) {
    int64_t integer;
    switch (option->kind) {
    case GM__OPTION_FLAG: *(bool *)option->target = true; break;
    case GM__OPTION_TEXT: *(const char **)option->target = text; break;
    case GM__OPTION_INT:
        if (!gm__parse_integer(text, (int64_t)option->min, (int64_t)option->max, &integer)) {
            return gm__usage_error(command, "--%s: '%s' is not a whole number from %.0f to %.0f",
                                   option->name, text, option->min, option->max);
        }
        *(int *)option->target = (int)integer;
        break;
    case GM__OPTION_NUMBER:
        if (!gm__parse_number(text, option->min, option->max, option->target)) {
            return gm__usage_error(command, "--%s: '%s' is not a number from %g to %g",
                                   option->name, text, option->min, option->max);
        }
        break;
    case GM__OPTION_LIST: {
        gm__list *list = option->target;
        if (list->item == NULL) list->item = gm_alloc((size_t)argc, sizeof *list->item);
        if (list->item == NULL) return gm__usage_error(command, "out of memory");
        list->item[list->count++] = text;
        break;
    }
    }
    return GM__EXIT_NONE;
}

static int unknown_option(const gm__command *command, const struct option *table,
                          const char *word) {
    const char *names[MAX_OPTIONS + 1] = {0};
    for (int i = 0; i < MAX_OPTIONS && table[i].name != NULL; i++) names[i] = table[i].name;
    while (*word == '-') word++;
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word, "="), word);
    const char *near = gm__nearest(name, names);
    return gm__usage_error(command, "unknown option '--%s'%s%s%s", name,
                           near ? "; did you mean '--" : "", near ? near : "", near ? "'?" : "");
}

static int apply_common(const gm__command *command, const common_values *values, gm__args *out) {
    out->json = values->json;
    out->quiet = values->quiet;
    out->verbose = values->verbose;
    out->seed = 1;
    if (values->seed != NULL) {
        if (!gm__parse_unsigned(values->seed, &out->seed)) {
            return gm__usage_error(
                command, "--seed: '%s' is not a whole number from 0 to 18446744073709551615",
                values->seed);
        }
        out->seed_given = true;
    }
    if (values->quiet) {
        gm_log_set(GM_LOG_WARN);
        gm_progress_quiet(true);
    } else if (values->verbose) {
        gm_log_set(GM_LOG_DEBUG);
    }
    if (values->threads > 0) gm_threads_set(values->threads);
    return GM__EXIT_NONE;
}

int gm__args_parse(const gm__command *command, const gm__option *options, int min_positional,
                   int max_positional, int argc, char **argv, gm__args *out) {
    common_values values = {0};
    *out = (gm__args){0};
    const gm__option common[COMMON + 1] = {
        {"json", NULL, "one JSON object on standard output, nothing else there", GM__OPTION_FLAG,
         &values.json, 0, 0},
        {"seed", "N", "seed of every random draw (default 1)", GM__OPTION_TEXT, &values.seed, 0, 0},
        {"threads", "N", "threads (default: all that the process may use)", GM__OPTION_INT,
         &values.threads, 1, 1024},
        {"quiet", NULL, "no progress, only warnings and errors", GM__OPTION_FLAG, &values.quiet, 0,
         0},
        {"verbose", NULL, "more detail on standard error", GM__OPTION_FLAG, &values.verbose, 0, 0},
        {"help", NULL, "this page", GM__OPTION_FLAG, &values.help, 0, 0},
        {0},
    };
    const gm__option *all[MAX_OPTIONS] = {0};
    struct option table[MAX_OPTIONS + 1] = {0};
    int count = 0;
    for (const gm__option *o = options; o != NULL && o->name != NULL && count < MAX_OPTIONS; o++)
        all[count++] = o;
    for (const gm__option *o = common; o->name != NULL && count < MAX_OPTIONS; o++)
        all[count++] = o;
    for (int i = 0; i < count; i++) {
        table[i] = (struct option){
            all[i]->name, all[i]->value != NULL ? required_argument : no_argument, NULL, i + 1};
    }
    opterr = 0;
    optind = 0; // GNU: start over, also for argv that was scanned before
    for (;;) {
        int scanned = optind > 0 ? optind : 1;
        int code = getopt_long(argc, argv, ":h", table, NULL);
        if (code == -1) break;
        if (code == 'h') {
            values.help = true;
        } else if (code == ':') {
            return gm__usage_error(command, "option '%s' needs a value", argv[optind - 1]);
        } else if (code == '?') {
            // optopt is set for short options; a long one is the word getopt stopped at
            const char *word = argv[optind > scanned ? optind - 1 : scanned];
            return unknown_option(command, table, word);
        } else {
            int status = set_option(command, all[code - 1], optarg, argc);
            if (status != GM__EXIT_NONE) return status;
        }
    }
    if (values.help) {
        show_help(command, options, common);
        return GM__EXIT_DONE;
    }
    int status = apply_common(command, &values, out);
    if (status != GM__EXIT_NONE) return status;
    out->count = argc - optind;
    out->positional = argv + optind;
    if (out->count < min_positional) return gm__usage_error(command, "an argument is missing");
    if (out->count > max_positional) {
        return gm__usage_error(command, "unexpected argument '%s'",
                               out->positional[max_positional]);
    }
    return GM__EXIT_NONE;
}
