// SPDX-License-Identifier: Apache-2.0
// Reads and writes recipes. libcyaml checks the structure against a schema made from the table of
// settings; values are then converted here, because its own numbers accept "12abc", 1.5 for an
// integer, and know no ranges.
#include "recipe.h"

#include "cli.h"

#include <gamut/checkpoint.h>

#include <cyaml/cyaml.h>
#include <string.h>

enum { MAX_SETTINGS = 96, MAX_SECTIONS = 8, MAX_ITEMS = 64 };

// What a mapping is loaded into: one slot a setting (the rows of other mappings stay empty), one a
// section.
typedef struct raw_mapping raw_mapping;
struct raw_mapping {
    void *value[MAX_SETTINGS]; // a text, or for lists the texts
    uint32_t count[MAX_SETTINGS];
    raw_mapping *section[MAX_SECTIONS];
    void *probe;
};

typedef struct schema {
    cyaml_schema_field_t field[MAX_SECTIONS][MAX_SETTINGS + MAX_SECTIONS + 2];
    cyaml_schema_value_t item, top;
} schema;

// The last complaint of libcyaml, from its log.
typedef struct complaint {
    char message[160], field[64], section[64]; // innermost mapping field, and the one around it
    long line;
    int depth;
} complaint;

static bool is_list(const gm__setting *setting) {
    return setting->kind == GM__SETTING_FLOATS || setting->kind == GM__SETTING_CHOICES;
}

static int section_index(const char *name) {
    for (int i = 0; gm__setting_sections[i] != NULL; i++) {
        if (strcmp(gm__setting_sections[i], name) == 0) return i;
    }
    return -1;
}

// Everything is loaded as text. probe_key (may be NULL) is declared as a value that nothing can
// satisfy, whether or not such a setting exists: libcyaml then complains about exactly that key,
// and tells the line where it stands.
static void build_schema(schema *s, int probe_section, const char *probe_key) {
    const enum cyaml_flag optional = CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL;
    static const cyaml_strval_t nothing[1] = {{"", 0}};
    int used[MAX_SECTIONS] = {0}, count = 0;
    const gm__setting *settings = gm__settings(&count);
    memset(s, 0, sizeof *s);
    s->item =
        (cyaml_schema_value_t){.type = CYAML_STRING, .flags = CYAML_FLAG_POINTER, .data_size = 1};
    s->item.string.max = CYAML_UNLIMITED;
    if (probe_key != NULL) {
        cyaml_schema_field_t *field = &s->field[probe_section][used[probe_section]++];
        field->key = probe_key;
        field->data_offset = offsetof(raw_mapping, probe);
        field->value = (cyaml_schema_value_t){
            .type = CYAML_ENUM, .flags = optional | CYAML_FLAG_STRICT, .data_size = 8};
        field->value.enumeration.strings = nothing;
        field->value.enumeration.count = 0;
    }
    for (int i = 0; i < count && i < MAX_SETTINGS; i++) {
        int section = section_index(settings[i].section);
        if (probe_key != NULL && section == probe_section &&
            strcmp(probe_key, settings[i].key) == 0)
            continue;
        cyaml_schema_field_t *field = &s->field[section][used[section]++];
        field->key = settings[i].key;
        field->data_offset = (uint32_t)(offsetof(raw_mapping, value) + (size_t)i * sizeof(void *));
        if (is_list(&settings[i])) {
            field->count_offset =
                (uint32_t)(offsetof(raw_mapping, count) + (size_t)i * sizeof(uint32_t));
            field->count_size = sizeof(uint32_t);
            field->value = (cyaml_schema_value_t){
                .type = CYAML_SEQUENCE, .flags = optional, .data_size = sizeof(char *)};
            field->value.sequence.entry = &s->item;
            field->value.sequence.max = MAX_ITEMS;
        } else {
            field->value =
                (cyaml_schema_value_t){.type = CYAML_STRING, .flags = optional, .data_size = 1};
            field->value.string.max = CYAML_UNLIMITED;
        }
    }
    for (int i = 1; gm__setting_sections[i] != NULL; i++) {
        if (probe_key != NULL && probe_section == 0 &&
            strcmp(probe_key, gm__setting_sections[i]) == 0)
            continue;
        cyaml_schema_field_t *field = &s->field[0][used[0]++];
        field->key = gm__setting_sections[i];
        field->data_offset =
            (uint32_t)(offsetof(raw_mapping, section) + (size_t)i * sizeof(void *));
        field->value = (cyaml_schema_value_t){
            .type = CYAML_MAPPING, .flags = optional, .data_size = sizeof(raw_mapping)};
        field->value.mapping.fields = s->field[i];
    }
    s->top = (cyaml_schema_value_t){
        .type = CYAML_MAPPING, .flags = CYAML_FLAG_POINTER, .data_size = sizeof(raw_mapping)};
    s->top.mapping.fields = s->field[0];
}

static void listen(cyaml_log_t level, void *context, const char *format, va_list list)
    GM_PRINTF(3, 0);
static void listen(cyaml_log_t level, void *context, const char *format, va_list list) {
    complaint *c = context;
    char text[256], name[64];
    long line;
    (void)level;
    vsnprintf(text, sizeof text, format, list);
    text[strcspn(text, "\n")] = '\0';
    if (strncmp(text, "Load: ", 6) == 0) {
        if (c->message[0] == '\0' && strcmp(text, "Load: Backtrace:") != 0) {
            snprintf(c->message, sizeof c->message, "%.159s", text + 6);
        }
        return;
    }
    const char *where = strstr(text, "(line: ");
    if (where != NULL && sscanf(where, "(line: %ld", &line) == 1 && c->line == 0) c->line = line;
    if (sscanf(text, " in mapping field '%63[^']'", name) == 1) {
        char *slot = c->depth == 0 ? c->field : c->depth == 1 ? c->section : NULL;
        if (slot != NULL) snprintf(slot, sizeof name, "%s", name);
        c->depth++;
    } else if (strncmp(text, "  in mapping (", 14) == 0) {
        c->depth++; // the complaint is about the mapping itself: the next field names it
    }
}

static cyaml_config_t config_for(complaint *c) {
    *c = (complaint){0};
    return (cyaml_config_t){.log_fn = listen,
                            .log_ctx = c,
                            .mem_fn = cyaml_mem,
                            .log_level = CYAML_LOG_ERROR,
                            .flags = CYAML_CFG_NO_ALIAS};
}

// The line of a key, 0 when unknown.
static long line_of(const char *text, size_t bytes, int section, const char *key) {
    schema *s = gm_alloc(1, sizeof *s);
    if (s == NULL) return 0;
    complaint c;
    cyaml_config_t config = config_for(&c);
    cyaml_data_t *raw = NULL;
    build_schema(s, section, key);
    cyaml_err_t status =
        cyaml_load_data((const uint8_t *)text, bytes, &config, &s->top, &raw, NULL);
    cyaml_free(&config, &s->top, raw, 0);
    gm_free(s);
    return status != CYAML_OK && strcmp(c.field, key) == 0 ? c.line : 0;
}

// The line at which the text stops being YAML: libcyaml does not tell, so the longest sound run of
// lines is searched.
static long line_of_syntax_error(const char *text, size_t bytes, const schema *s) {
    size_t good = 0, bad = bytes; // bytes, both at line ends
    for (;;) {
        size_t middle = good + (bad - good) / 2;
        while (middle < bad && text[middle] != '\n') middle++;
        if (middle >= bad || middle + 1 >= bad) { // none between: go by the first line after `good`
            const char *end = memchr(text + good, '\n', bad - good);
            if (end == NULL || (size_t)(end - text) + 1 >= bad) break;
            middle = (size_t)(end - text);
        }
        complaint c;
        cyaml_config_t config = config_for(&c);
        cyaml_data_t *raw = NULL;
        cyaml_err_t status =
            cyaml_load_data((const uint8_t *)text, middle + 1, &config, &s->top, &raw, NULL);
        cyaml_free(&config, &s->top, raw, 0);
        if (status == CYAML_ERR_LIBYAML_PARSER) {
            bad = middle + 1;
        } else {
            good = middle + 1;
        }
    }
    long line = 1;
    for (size_t i = 0; i < good; i++) line += text[i] == '\n';
    return line;
}

static gm_status fail_at(gm_error *err, const char *what, long line, const char *format, ...)
    GM_PRINTF(4, 5);
static gm_status fail_at(gm_error *err, const char *what, long line, const char *format, ...) {
    char text[256], place[24] = "";
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    // An assignment on the command line has no lines.
    if (line > 0 && strncmp(what, "--set", 5) != 0) snprintf(place, sizeof place, ":%ld", line);
    return gm_fail(err, GM_ERR_FORMAT, "%.120s%s: %s", what, place, text);
}

static gm_status unknown_key(const char *text, size_t bytes, const char *what, const complaint *c,
                             gm_error *err) {
    const char *key = c->message + strlen("Unexpected key: "),
               *names[MAX_SETTINGS + MAX_SECTIONS] = {0};
    int section = gm_max(section_index(c->section), 0), used = 0, count = 0;
    const gm__setting *settings = gm__settings(&count);
    for (int i = 0; i < count; i++) {
        if (section_index(settings[i].section) == section) names[used++] = settings[i].key;
    }
    for (int i = 1; section == 0 && gm__setting_sections[i] != NULL; i++)
        names[used++] = gm__setting_sections[i];
    long line = line_of(text, bytes, section, key);
    const char *near = gm__nearest(key, names);
    return fail_at(err, what, line,
                   "unknown setting '%s%s%.40s'%s%s%s; 'gamut train --settings' lists all",
                   gm__setting_sections[section], section > 0 ? "." : "", key,
                   near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static const gm__setting *find_setting(const char *section, const char *key) {
    int count = 0;
    const gm__setting *settings = gm__settings(&count);
    for (int i = 0; i < count; i++) {
        if (strcmp(settings[i].section, section) == 0 && strcmp(settings[i].key, key) == 0)
            return &settings[i];
    }
    return NULL;
}

static gm_status explain(const char *text, size_t bytes, const char *what, const schema *s,
                         cyaml_err_t status, const complaint *c, gm_error *err) {
    char allowed[GM__RECIPE_ALLOWED];
    if (status == CYAML_ERR_OOM) return gm_fail(err, GM_ERR_MEMORY, "%.120s: out of memory", what);
    if (status == CYAML_ERR_INVALID_KEY) return unknown_key(text, bytes, what, c, err);
    if (status == CYAML_ERR_LIBYAML_PARSER) {
        return fail_at(err, what, line_of_syntax_error(text, bytes, s), "not YAML: %s",
                       strchr(c->message, ' ') + 1);
    }
    if (strncmp(c->message, "Mapping field already seen", 26) == 0) {
        return fail_at(err, what, c->line, "'%s' is given twice; keep one", c->field);
    }
    if (status == CYAML_ERR_ALIAS)
        return fail_at(err, what, c->line, "YAML aliases are not supported here; repeat the value");
    if (c->field[0] == '\0')
        return fail_at(err, what, 1, "a recipe is lines of 'setting: value'; see docs/recipes.md");
    const gm__setting *setting =
        find_setting(section_index(c->section) > 0 ? c->section : "", c->field);
    if (setting == NULL) {
        return fail_at(err, what, c->line,
                       "'%s' is a section: its settings follow, indented, one a line", c->field);
    }
    gm__setting_allowed(setting, allowed);
    return fail_at(err, what, c->line, "'%s' has the wrong form; allowed: %s", c->field, allowed);
}

static gm_status check_preset(const char *text, size_t bytes, const char *what,
                              const gm__recipe *recipe, gm_error *err) {
    char names[GM__RECIPE_ALLOWED] = "";
    size_t used = 0;
    for (const char *const *pair = gm_model_presets(); pair[0] != NULL; pair += 2) {
        if (strcmp(pair[0], recipe->train.preset) == 0) return GM_OK;
        int n = snprintf(names + used, sizeof names - used, "%s%s", used == 0 ? "" : ", ", pair[0]);
        if (n > 0 && used + (size_t)n < sizeof names) used += (size_t)n;
    }
    return fail_at(err, what, line_of(text, bytes, 0, "preset"),
                   "preset: '%s' is not known; allowed: %s", recipe->train.preset, names);
}

static gm_status convert(const char *text, size_t bytes, const char *what, const raw_mapping *raw,
                         gm__recipe *recipe, gm_error *err) {
    int count = 0;
    const gm__setting *settings = gm__settings(&count);
    for (int i = 0; i < count; i++) {
        int section = section_index(settings[i].section);
        const raw_mapping *mapping = section == 0 ? raw : raw->section[section];
        if (mapping == NULL || (mapping->value[i] == NULL && mapping->count[i] == 0)) continue;
        const char *single = mapping->value[i];
        const char *const *texts = is_list(&settings[i]) ? mapping->value[i] : &single;
        if (gm__setting_apply(&settings[i], texts, is_list(&settings[i]) ? mapping->count[i] : 1,
                              recipe))
            continue;
        char allowed[GM__RECIPE_ALLOWED];
        gm__setting_allowed(&settings[i], allowed);
        long line = line_of(text, bytes, section, settings[i].key);
        const char *dot = section > 0 ? "." : "";
        if (is_list(&settings[i])) {
            return fail_at(err, what, line, "%s%s%s: not allowed; allowed: %s", settings[i].section,
                           dot, settings[i].key, allowed);
        }
        return fail_at(err, what, line, "%s%s%s: '%.40s' is not allowed; allowed: %s",
                       settings[i].section, dot, settings[i].key, single, allowed);
    }
    if (raw->value[0] != NULL) return check_preset(text, bytes, what, recipe, err);
    return GM_OK;
}

gm__recipe gm__recipe_default(void) {
    gm__recipe recipe = {.train = gm_train_settings_default(),
                         .checkpoint = {.every = 1, .keep = 3, .full_every = 8, .max_drop = 0.01, .early_drop = 0.2, .distortion = 1.4, .stick = 0.15, .optimizer = GM_CHECKPOINT_ROUND, .images = 300}};
    return recipe;
}

void gm__recipe_resolve(gm__recipe *recipe) {
    gm_train_settings *s = &recipe->train;
    if (s->eval_choice_count > 0) return;
    if (s->strategy == GM_STRATEGY_PLAIN) {
        if (strlen(s->choice) >= sizeof s->eval_choices[0]) return; // training takes it from there
        memcpy(s->eval_choices[0], s->choice, strlen(s->choice) + 1);
        s->eval_choice_count = 1;
        return;
    }
    snprintf(s->eval_choices[0], sizeof s->eval_choices[0], "max");
    snprintf(s->eval_choices[1], sizeof s->eval_choices[1], "min");
    s->eval_choice_count = 2;
}

gm_status gm__recipe_parse(const char *text, size_t bytes, const char *what, gm__recipe *recipe,
                           gm_error *err) {
    gm_status result = GM_OK;
    cyaml_data_t *raw = NULL;
    complaint c;
    cyaml_config_t config = config_for(&c);
    if (bytes > GM__RECIPE_MAX_BYTES) {
        return gm_fail(err, GM_ERR_FORMAT, "%.120s: a recipe has at most %d bytes", what,
                       GM__RECIPE_MAX_BYTES);
    }
    schema *s = gm_alloc(1, sizeof *s);
    if (s == NULL) return gm_fail(err, GM_ERR_MEMORY, "%.120s: out of memory", what);
    build_schema(s, 0, NULL);
    cyaml_err_t status =
        cyaml_load_data((const uint8_t *)text, bytes, &config, &s->top, &raw, NULL);
    if (status != CYAML_OK) {
        result = explain(text, bytes, what, s, status, &c, err);
    } else if (raw != NULL) { // else an empty document: everything keeps its value
        gm__recipe changed = *recipe;
        result = convert(text, bytes, what, raw, &changed, err);
        if (result == GM_OK) *recipe = changed;
    }
    cyaml_free(&config, &s->top, raw, 0);
    gm_free(s);
    return result;
}

gm_status gm__recipe_read(const char *path, gm__recipe *recipe, gm_error *err) {
    uint8_t *data = NULL;
    size_t bytes = 0;
    gm_status status = gm_file_read(path, GM__RECIPE_MAX_BYTES, &data, &bytes, err);
    if (status == GM_OK) status = gm__recipe_parse((const char *)data, bytes, path, recipe, err);
    gm_free(data);
    return status;
}

gm_status gm__recipe_set(const char *assignment, gm__recipe *recipe, gm_error *err) {
    char text[1024], what[160];
    const char *equals = strchr(assignment, '=');
    size_t key = strspn(assignment, "abcdefghijklmnopqrstuvwxyz0123456789_."),
           section = strcspn(assignment, ".=");
    snprintf(what, sizeof what, "--set %s", assignment);
    if (equals == NULL || key != (size_t)(equals - assignment) || key == 0 ||
        strlen(assignment) + 8 > sizeof text) {
        return gm_fail(
            err, GM_ERR_ARGUMENT,
            "%.120s: write --set KEY=VALUE, e.g. --set epochs=20 or --set model.width=0.5", what);
    }
    for (const char *c = equals; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20)
            return gm_fail(err, GM_ERR_ARGUMENT, "%.120s: a control character in the value", what);
    }
    if (section < key) {
        snprintf(text, sizeof text, "%.*s:\n  %.*s: %s\n", (int)section, assignment,
                 (int)(key - section - 1), assignment + section + 1, equals + 1);
    } else {
        snprintf(text, sizeof text, "%.*s: %s\n", (int)key, assignment, equals + 1);
    }
    return gm__recipe_parse(text, strlen(text), what, recipe, err);
}

gm_status gm__recipe_write(const gm__recipe *recipe, const char *path, gm_error *err) {
    char value[1400], line[1600];
    int count = 0;
    const gm__setting *settings = gm__settings(&count);
    gm_writer *writer = NULL;
    gm_status status = gm_writer_open(path, &writer, err);
    if (status != GM_OK) return status;
    int n = snprintf(line, sizeof line, "# gamut %s: every setting of this run.\n",
                     gm_version());
    status = gm_writer_write(writer, line, (size_t)n, err);
    for (int section = 0; gm__setting_sections[section] != NULL && status == GM_OK; section++) {
        if (section > 0) {
            n = snprintf(line, sizeof line, "%s:\n", gm__setting_sections[section]);
            status = gm_writer_write(writer, line, (size_t)n, err);
        }
        for (int i = 0; i < count && status == GM_OK; i++) {
            if (section_index(settings[i].section) != section) continue;
            gm__setting_value(&settings[i], recipe, value, sizeof value);
            n = snprintf(line, sizeof line, "%s%s: %s\n", section > 0 ? "  " : "", settings[i].key,
                         value);
            status = gm_writer_write(writer, line, (size_t)n, err);
        }
    }
    if (status != GM_OK) {
        gm_writer_abort(writer);
        return status;
    }
    return gm_writer_commit(writer, err);
}
