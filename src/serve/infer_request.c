// SPDX-License-Identifier: Apache-2.0
// The JSON part of an inference request.
#include "serve/infer_request.h"

#include "serve/json_scan.h"

#include <math.h>
#include <string.h>

const char *const gm__output_names[GM__OUTPUTS] = {"class", "probabilities", "logits"};

enum { KEY_BYTES = 256, RANK_MAX = 4 };

typedef struct wire_info {
    const char *name;
    size_t size;
} wire_info;
static const wire_info wires[] = {{"UINT8", 1}, {"UINT16", 2}, {"UINT32", 4}, {"UINT64", 8}, {"INT8", 1}, {"INT16", 2},
                                  {"INT32", 4}, {"INT64", 8},  {"FP16", 2},   {"BF16", 2},   {"FP32", 4}, {"FP64", 8}};

// What was met so far, beside the request itself.
typedef struct parse {
    gm__scan scan;
    const gm__input_rules *rules;
    gm__infer_request *r;
    bool has_input, has_name, has_shape, has_type, binary_default, binary_set[GM__OUTPUTS];
    int64_t values;      // of the shape
    int64_t binary_size; // binary_data_size, -1: none
    int layout;          // parameters.layout: 0 not given, 1 NHWC, 2 NCHW
} parse;

static gm_status unknown(parse *p, const char *where, const char *key, gm_error *err) {
    if (p->rules->strict)
        return gm_fail(err, GM_ERR_FORMAT, "%s has a field '%.60s' that this server does not know (it runs with --strict)",
                       where, key);
    return gm__scan_skip(&p->scan, 2, err);
}

static gm_status duplicate(const char *where, const char *key, gm_error *err) {
    return gm_fail(err, GM_ERR_FORMAT, "%s has the field '%.60s' twice", where, key);
}

typedef gm_status member(parse *p, void *context, const char *key, gm_error *err);

static gm_status object(parse *p, member *visit, void *context, gm_error *err) {
    gm_status status = gm__scan_expect(&p->scan, '{', err);
    bool first = true, more = true;
    while (status == GM_OK && more) {
        char key[KEY_BYTES];
        status = gm__scan_more(&p->scan, '}', &first, &more, err);
        if (status != GM_OK || !more) break;
        status = gm__scan_key(&p->scan, key, sizeof key, err);
        if (status == GM_OK) status = visit(p, context, key, err);
    }
    return status;
}

static gm_status array(parse *p, gm_status (*visit)(parse *p, int index, gm_error *err), gm_error *err) {
    gm_status status = gm__scan_expect(&p->scan, '[', err);
    bool first = true, more = true;
    for (int i = 0; status == GM_OK; i++) {
        status = gm__scan_more(&p->scan, ']', &first, &more, err);
        if (status != GM_OK || !more) break;
        status = visit(p, i, err);
    }
    return status;
}

// Parameters are a flat map; those that are not ours are only checked for that.
static gm_status flat(parse *p, const char *key, gm_error *err) {
    char c = gm__scan_peek(&p->scan);
    if (c == '{' || c == '[' || c == 'n')
        return gm_fail(err, GM_ERR_FORMAT, "the parameter '%.60s' is neither string, number nor true or false", key);
    if (p->rules->strict) return unknown(p, "parameters", key, err);
    return gm__scan_skip(&p->scan, 3, err);
}

static gm_status request_parameter(parse *p, void *context, const char *key, gm_error *err) {
    (void)context;
    gm__infer_request *r = p->r;
    if (strcmp(key, "timeout") == 0)
        return gm__scan_whole(&p->scan, 0, GM__TIMEOUT_MAX_US, "the parameter 'timeout' (microseconds)", &r->timeout_us, err);
    if (strcmp(key, "priority") == 0) {
        int64_t v = 0;
        gm_status status = gm__scan_whole(&p->scan, 0, GM__PRIORITY_MAX, "the parameter 'priority'", &v, err);
        r->priority = (int)v;
        return status;
    }
    if (strcmp(key, "min_accuracy") == 0) {
        gm_status status = gm__scan_number(&p->scan, &r->min_accuracy, NULL, err);
        if (status == GM_OK && !(r->min_accuracy >= 0 && r->min_accuracy <= 100))
            status = gm_fail(err, GM_ERR_RANGE, "the parameter 'min_accuracy' is %g, it must be percent from 0 to 100",
                             r->min_accuracy);
        return status;
    }
    if (strcmp(key, "binary_data_output") == 0) return gm__scan_bool(&p->scan, &p->binary_default, err);
    return flat(p, key, err);
}

static gm_status input_parameter(parse *p, void *context, const char *key, gm_error *err) {
    (void)context;
    if (strcmp(key, "binary_data_size") == 0)
        return gm__scan_whole(&p->scan, 0, INT32_MAX, "binary_data_size", &p->binary_size, err);
    if (strcmp(key, "layout") == 0) {
        char text[16];
        gm_status status = gm__scan_string(&p->scan, text, sizeof text, err);
        if (status != GM_OK) return status;
        p->layout = strcmp(text, "NHWC") == 0 ? 1 : strcmp(text, "NCHW") == 0 ? 2 : 0;
        return p->layout != 0 ? GM_OK : gm_fail(err, GM_ERR_FORMAT, "layout is '%s', it must be NHWC or NCHW", text);
    }
    return flat(p, key, err);
}

static gm_status dimension(parse *p, int index, gm_error *err) {
    int64_t v = 0;
    gm_status status = gm__scan_whole(&p->scan, 1, 1 << 24, "a dimension of the input's shape", &v, err);
    if (status != GM_OK) return status;
    if (index >= RANK_MAX) return gm_fail(err, GM_ERR_RANGE, "the input's shape has more than %d dimensions", RANK_MAX);
    p->r->dims[index] = (int)v;
    p->r->rank = index + 1;
    p->values *= v; // at most 2^30 times 2^24
    if (p->values > (int64_t)1 << 30) return gm_fail(err, GM_ERR_RANGE, "the input's shape has more than 2^30 values");
    return GM_OK;
}

static gm_status datatype(parse *p, gm_error *err) {
    char text[32];
    gm_status status = gm__scan_string(&p->scan, text, sizeof text, err);
    if (status != GM_OK) return status;
    for (size_t i = 0; i < sizeof wires / sizeof *wires; i++) {
        if (strcmp(text, wires[i].name) != 0) continue;
        p->r->type = (gm__wire)i;
        return GM_OK;
    }
    return gm_fail(err, GM_ERR_FORMAT, "the input's datatype is '%s'; this model reads UINT8 pixels or FP32 (or another "
                   "integer or float type of the protocol)", text);
}

static gm_status input_member(parse *p, void *context, const char *key, gm_error *err) {
    (void)context;
    if (strcmp(key, "name") == 0) {
        char name[KEY_BYTES];
        if (p->has_name) return duplicate("the input", key, err);
        p->has_name = true;
        return gm__scan_string(&p->scan, name, sizeof name, err);
    }
    if (strcmp(key, "shape") == 0) {
        if (p->has_shape) return duplicate("the input", key, err);
        p->has_shape = true;
        p->values = 1;
        return array(p, dimension, err);
    }
    if (strcmp(key, "datatype") == 0) {
        if (p->has_type) return duplicate("the input", key, err);
        p->has_type = true;
        return datatype(p, err);
    }
    if (strcmp(key, "data") == 0) {
        if (p->r->json != NULL) return duplicate("the input", key, err);
        if (gm__scan_peek(&p->scan) != '[') return gm__scan_fail(&p->scan, err, "the input's data is not an array");
        p->r->json = p->scan.at;
        gm_status status = gm__scan_skip(&p->scan, 3, err);
        p->r->json_end = p->scan.at;
        return status;
    }
    if (strcmp(key, "parameters") == 0) return object(p, input_parameter, NULL, err);
    return unknown(p, "the input", key, err);
}

static gm_status input(parse *p, int index, gm_error *err) {
    if (index > 0)
        return gm_fail(err, GM_ERR_FORMAT, "the request has more than one input; this model has one, named 'image' (put "
                       "several images into its first dimension)");
    p->has_input = true;
    return object(p, input_member, NULL, err);
}

static gm_status output_parameter(parse *p, void *context, const char *key, gm_error *err) {
    int *index = context;
    if (strcmp(key, "binary_data") == 0) {
        p->binary_set[*index] = true;
        return gm__scan_bool(&p->scan, &p->r->binary[*index], err);
    }
    if (strcmp(key, "classification") == 0)
        return gm_fail(err, GM_ERR_UNSUPPORTED, "the classification extension is not supported; ask for the output "
                       "'probabilities'");
    return flat(p, key, err);
}

static gm_status output_member(parse *p, void *context, const char *key, gm_error *err) {
    int *index = context;
    if (strcmp(key, "name") == 0) {
        char name[KEY_BYTES];
        gm_status status = gm__scan_string(&p->scan, name, sizeof name, err);
        if (status != GM_OK) return status;
        if (p->has_name) return duplicate("an output", key, err);
        for (int i = 0; i < GM__OUTPUTS; i++) {
            if (strcmp(name, gm__output_names[i]) != 0) continue;
            for (int k = 0; k < *index; k++)
                if (p->r->output[k] == (gm__output)i)
                    return gm_fail(err, GM_ERR_FORMAT, "the output '%s' is asked for twice", name);
            p->r->output[*index] = (gm__output)i;
            p->has_name = true;
            return GM_OK;
        }
        return gm_fail(err, GM_ERR_FORMAT, "no output is named '%.60s'; there are class, probabilities, logits", name);
    }
    if (strcmp(key, "parameters") == 0) return object(p, output_parameter, index, err);
    return unknown(p, "an output", key, err);
}

static gm_status output(parse *p, int index, gm_error *err) {
    if (index >= GM__OUTPUTS) return gm_fail(err, GM_ERR_FORMAT, "more outputs are asked for than there are");
    p->has_name = false;
    gm_status status = object(p, output_member, &index, err);
    if (status == GM_OK && !p->has_name) status = gm_fail(err, GM_ERR_FORMAT, "an output that is asked for has no name");
    p->r->asked = index + 1;
    return status;
}

static gm_status top_member(parse *p, void *context, const char *key, gm_error *err) {
    bool *outputs = context;
    if (strcmp(key, "id") == 0) {
        if (p->r->has_id) return duplicate("the request", key, err);
        p->r->has_id = true;
        return gm__scan_string(&p->scan, p->r->id, sizeof p->r->id, err);
    }
    if (strcmp(key, "parameters") == 0) return object(p, request_parameter, NULL, err);
    if (strcmp(key, "inputs") == 0) {
        if (p->has_input) return duplicate("the request", key, err);
        p->has_name = false;
        return array(p, input, err);
    }
    if (strcmp(key, "outputs") == 0) {
        if (*outputs) return duplicate("the request", key, err);
        *outputs = true;
        return array(p, output, err);
    }
    return unknown(p, "the request", key, err);
}

static gm_status shape_error(const parse *p, gm_error *err) {
    int c = p->rules->channels, s = p->rules->side;
    return gm_fail(err, GM_ERR_RANGE, "the input's shape does not fit: this model reads [N,%d,%d,%d], [N,%d,%d,%d], one image "
                   "without N, or flat rows [N,%d]; other heights and widths up to %d are resized",
                   s, s, c, c, s, s, s * s * c, p->rules->max_side);
}

// Which dimension means what.
static gm_status layout(parse *p, gm_error *err) {
    gm__infer_request *r = p->r;
    const int *d = r->dims, c = p->rules->channels, side = p->rules->side;
    bool nchw = p->layout == 2, nhwc = p->layout == 1;
    gm__image *m = &r->image;
    m->channels = c;
    r->images = r->rank == 4 || r->rank == 2 ? d[0] : 1;
    if (r->rank == 4 || r->rank == 3) {
        const int *e = d + (r->rank - 3);
        if (e[2] == c && !nchw) {
            m->height = e[0], m->width = e[1];
        } else if (e[0] == c && !nhwc) {
            m->height = e[1], m->width = e[2];
            r->planar = c > 1;
        } else if (r->rank == 3 && c == 1) {
            r->images = d[0];
            m->height = d[1], m->width = d[2];
        } else {
            return shape_error(p, err);
        }
    } else if (r->rank == 2 && d[1] == side * side * c) {
        m->height = m->width = side;
        r->planar = nchw && c > 1;
    } else if (r->rank == 2 && c == 1) {
        r->images = 1;
        m->height = d[0], m->width = d[1];
    } else {
        return shape_error(p, err);
    }
    if (m->height > p->rules->max_side || m->width > p->rules->max_side) return shape_error(p, err);
    if (r->images > p->rules->max_images)
        return gm_fail(err, GM_ERR_RANGE, "%d images in one request; this server takes at most %d", r->images,
                       p->rules->max_images);
    m->pixels = r->type < GM__WIRE_FP16;
    return GM_OK;
}

static gm_status tensor(parse *p, const char *body, size_t body_bytes, size_t header_bytes, gm_error *err) {
    gm__infer_request *r = p->r;
    if (!p->has_input) return gm_fail(err, GM_ERR_FORMAT, "the request has no inputs");
    if (!p->has_name || !p->has_shape || !p->has_type || r->rank == 0)
        return gm_fail(err, GM_ERR_FORMAT, "the input lacks its name, its shape or its datatype");
    gm_status status = layout(p, err);
    if (status != GM_OK) return status;
    size_t rest = body_bytes - header_bytes;
    if (p->binary_size < 0) {
        if (r->json == NULL) return gm_fail(err, GM_ERR_FORMAT, "the input has neither data nor binary_data_size");
        if (rest != 0)
            return gm_fail(err, GM_ERR_FORMAT, "%zu bytes follow the JSON, but the input has no binary_data_size", rest);
        if (r->type == GM__WIRE_FP16 || r->type == GM__WIRE_BF16)
            return gm_fail(err, GM_ERR_FORMAT, "%s values do not travel as JSON numbers: send FP32, or binary data",
                           wires[r->type].name);
        return GM_OK;
    }
    if (r->json != NULL) return gm_fail(err, GM_ERR_FORMAT, "the input has both data and binary_data_size");
    uint64_t wanted = (uint64_t)p->values * wires[r->type].size;
    if (wanted != (uint64_t)p->binary_size || wanted != rest)
        return gm_fail(err, GM_ERR_FORMAT, "the input's shape and datatype make %llu bytes, binary_data_size says %lld, and %zu "
                       "bytes follow the JSON",
                       (unsigned long long)wanted, (long long)p->binary_size, rest);
    r->raw = (const uint8_t *)body + header_bytes;
    return GM_OK;
}

gm_status gm__infer_parse(const char *body, size_t body_bytes, size_t header_bytes, const gm__input_rules *rules,
                          gm__infer_request *out, gm_error *err) {
    *out = (gm__infer_request){0};
    if (header_bytes > body_bytes)
        return gm_fail(err, GM_ERR_FORMAT, "Inference-Header-Content-Length is %zu, but the body has %zu bytes", header_bytes,
                       body_bytes);
    parse p = {.scan = gm__scan_of(body, header_bytes), .rules = rules, .r = out, .binary_size = -1};
    bool outputs = false;
    gm_status status = object(&p, top_member, &outputs, err);
    if (status == GM_OK) status = gm__scan_end(&p.scan, err);
    if (status == GM_OK) status = tensor(&p, body, body_bytes, header_bytes, err);
    if (status != GM_OK) return status;
    if (out->asked == 0) {
        out->asked = 2;
        out->output[0] = GM__OUTPUT_CLASS;
        out->output[1] = GM__OUTPUT_PROBABILITIES;
        p.binary_set[0] = p.binary_set[1] = false;
    }
    for (int i = 0; i < out->asked; i++)
        if (!p.binary_set[i]) out->binary[i] = p.binary_default;
    return GM_OK;
}

size_t gm__image_bytes(const gm__image *m) {
    return (size_t)m->height * (size_t)m->width * (size_t)m->channels * (m->pixels ? 1 : sizeof(float));
}
