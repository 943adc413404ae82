// SPDX-License-Identifier: Apache-2.0
// port: the restricted unpickler. Every step reads at least one byte and makes at most one value and one cell an item,
// so that memory is bounded by the file; the tree is never walked recursively.
#include "port/pickle.h"

#include <string.h>

enum { MAX_VALUES = 1 << 22, MAX_ARGUMENTS = 8 };

// Globals: what they are is decided here, not in the file.
typedef enum global_kind {
    ORDERED_DICT,
    REBUILD_TENSOR,
    REBUILD_TENSOR_V2,
    REBUILD_PARAMETER,
    SIZE,
    STORAGE
} global_kind;
static const struct {
    const char *module, *name;
    global_kind kind;
    gm__torch_type type;
} globals[] = {
    {"collections", "OrderedDict", ORDERED_DICT, 0},
    {"torch._utils", "_rebuild_tensor", REBUILD_TENSOR, 0},
    {"torch._utils", "_rebuild_tensor_v2", REBUILD_TENSOR_V2, 0},
    {"torch._utils", "_rebuild_parameter", REBUILD_PARAMETER, 0},
    {"torch", "Size", SIZE, 0},
    {"torch", "FloatStorage", STORAGE, GM__TORCH_FLOAT},
    {"torch", "DoubleStorage", STORAGE, GM__TORCH_DOUBLE},
    {"torch", "HalfStorage", STORAGE, GM__TORCH_HALF},
    {"torch", "BFloat16Storage", STORAGE, GM__TORCH_BFLOAT16},
    {"torch", "LongStorage", STORAGE, GM__TORCH_LONG},
    {"torch", "IntStorage", STORAGE, GM__TORCH_INT},
    {"torch", "ShortStorage", STORAGE, GM__TORCH_SHORT},
    {"torch", "CharStorage", STORAGE, GM__TORCH_CHAR},
    {"torch", "ByteStorage", STORAGE, GM__TORCH_BYTE},
    {"torch", "BoolStorage", STORAGE, GM__TORCH_BOOL},
};
enum { GLOBALS = sizeof globals / sizeof globals[0] };

size_t gm__torch_type_size(gm__torch_type type) {
    static const size_t sizes[GM__TORCH_TYPES] = {4, 8, 2, 2, 8, 4, 2, 1, 1, 1};
    return sizes[type];
}

static gm_status bad(const gm__pickle *p, gm_error *err, const char *why) {
    return gm_fail(err, GM_ERR_FORMAT, "%s: byte %zu: %s", p->what, p->at, why);
}

static gm_status no_memory(const gm__pickle *p, gm_error *err) {
    return gm_fail(err, GM_ERR_MEMORY, "%s: no memory for its structure", p->what);
}

void gm__pickle_fini(gm__pickle *p) {
    gm_free(p->value);
    gm_free(p->cell);
    gm_free(p->stack);
    gm_free(p->memo);
    *p = (gm__pickle){0};
}

// Room for one more in an array; false: no memory, or too many for any state dict.
static bool room(void **array, int used, int *cap, size_t size) {
    if (used < *cap) return true;
    if (used >= MAX_VALUES) return false;
    int grown_cap = *cap * 2 + 64;
    void *grown = gm_realloc(*array, (size_t)*cap, (size_t)grown_cap, size);
    if (!grown) return false;
    *array = grown;
    *cap = grown_cap;
    return true;
}

static gm_status push(gm__pickle *p, int value, gm_error *err) {
    void *stack = p->stack;
    if (!room(&stack, p->depth, &p->depth_cap, sizeof *p->stack)) return no_memory(p, err);
    p->stack = stack;
    p->stack[p->depth++] = value;
    return GM_OK;
}

enum { MARK = -1 };

static gm_status push_value(gm__pickle *p, gm__pickle_value v, gm_error *err) {
    void *values = p->value;
    if (!room(&values, p->values, &p->values_cap, sizeof *p->value)) return no_memory(p, err);
    p->value = values;
    p->value[p->values] = v;
    return push(p, p->values++, err);
}

// The top value, which must exist and not be a mark.
static gm_status pop(gm__pickle *p, int *value, gm_error *err) {
    *value = -1;
    if (p->depth == 0 || p->stack[p->depth - 1] == MARK)
        return bad(p, err, "its pickle takes a value from an empty stack");
    *value = p->stack[--p->depth];
    return GM_OK;
}

static gm_status chain(gm__pickle *p, int container, int value, gm_error *err) {
    void *cells = p->cell;
    if (!room(&cells, p->cells, &p->cells_cap, sizeof *p->cell)) return no_memory(p, err);
    p->cell = cells;
    p->cell[p->cells] = (gm__pickle_cell){value, -1};
    gm__pickle_value *v = &p->value[container];
    if (v->count == 0)
        v->first = p->cells;
    else
        p->cell[v->last].next = p->cells;
    v->last = p->cells++;
    v->count++;
    return GM_OK;
}

// The stack position of the topmost mark, -1: none.
static int find_mark(const gm__pickle *p) {
    int i = p->depth - 1;
    while (i >= 0 && p->stack[i] != MARK) i--;
    return i;
}

static gm_status take(gm__pickle *p, size_t bytes, const uint8_t **out, gm_error *err) {
    *out = p->data + p->at;
    if (bytes > p->bytes - p->at) return bad(p, err, "its pickle ends within a value: cut short?");
    p->at += bytes;
    return GM_OK;
}

static gm_status take_number(gm__pickle *p, size_t bytes, uint64_t *out, gm_error *err) {
    const uint8_t *from;
    gm_status status = take(p, bytes, &from, err);
    *out = 0;
    for (size_t i = 0; !status && i < bytes; i++) *out |= (uint64_t)from[i] << (8 * i);
    return status;
}

static gm_status push_whole(gm__pickle *p, gm__pickle_kind kind, int64_t v, gm_error *err) {
    return push_value(p, (gm__pickle_value){.kind = kind, .u.whole = v}, err);
}

static gm_status read_long(gm__pickle *p, gm_error *err) {
    uint64_t bytes, v;
    gm_status status = take_number(p, 1, &bytes, err);
    if (!status && bytes > 8) status = bad(p, err, "a number of more than 8 bytes");
    if (!status) status = take_number(p, (size_t)bytes, &v, err);
    if (status) return status;
    if (bytes > 0 && bytes < 8 && (v >> (8 * bytes - 1)) & 1) v |= UINT64_MAX << (8 * bytes);
    return push_whole(p, GM__PICKLE_INT, (int64_t)v, err);
}

static gm_status read_float(gm__pickle *p, gm_error *err) {
    const uint8_t *from;
    union {
        uint64_t u;
        double f;
    } x = {0};
    gm_status status = take(p, 8, &from, err);
    for (int i = 0; !status && i < 8; i++) x.u = x.u << 8 | from[i]; // big endian, alone of all
    return status ? status : push_value(p, (gm__pickle_value){.kind = GM__PICKLE_FLOAT, .u.real = x.f}, err);
}

static gm_status read_text(gm__pickle *p, gm_error *err) {
    uint64_t length;
    gm__pickle_value v = {.kind = GM__PICKLE_TEXT};
    gm_status status = take_number(p, 4, &length, err);
    if (!status) status = take(p, (size_t)length, &v.u.text.text, err);
    v.u.text.length = (size_t)length;
    return status ? status : push_value(p, v, err);
}

// Two lines: module and name.
static gm_status read_global(gm__pickle *p, gm_error *err) {
    const char *line[2];
    size_t length[2];
    for (int i = 0; i < 2; i++) {
        line[i] = (const char *)p->data + p->at;
        const char *end = memchr(line[i], '\n', p->bytes - p->at);
        if (!end) return bad(p, err, "its pickle ends within a name: cut short?");
        length[i] = (size_t)(end - line[i]);
        p->at += length[i] + 1;
    }
    for (int i = 0; i < GLOBALS; i++)
        if (strlen(globals[i].module) == length[0] && memcmp(globals[i].module, line[0], length[0]) == 0 &&
            strlen(globals[i].name) == length[1] && memcmp(globals[i].name, line[1], length[1]) == 0)
            return push_whole(p, GM__PICKLE_GLOBAL, i, err);
    char shown[64];
    size_t used = 0;
    for (int i = 0; i < 2; i++)
        for (size_t j = 0; j < length[i] + (i == 0) && used + 1 < sizeof shown; j++) {
            char c = j < length[i] ? line[i][j] : '.';
            shown[used++] = c >= 0x20 && c < 0x7f ? c : '?';
        }
    shown[used] = '\0';
    return gm_fail(
        err, GM_ERR_UNSUPPORTED,
        "%s: byte %zu: it needs '%s', which a file of weights does not: it is not run. Save the state dict alone",
        p->what, p->at, shown);
}

static gm_status make_tuple(gm__pickle *p, int from, bool mark, gm_error *err) {
    int until = p->depth;
    gm__pickle_value v = {.kind = GM__PICKLE_TUPLE};
    void *values = p->value;
    if (!room(&values, p->values, &p->values_cap, sizeof *p->value)) return no_memory(p, err);
    p->value = values;
    p->value[p->values] = v;
    gm_status status = GM_OK;
    for (int i = from; i < until && !status; i++) {
        if (p->stack[i] == MARK) return bad(p, err, "its pickle makes a tuple over a mark");
        status = chain(p, p->values, p->stack[i], err);
    }
    p->depth = from - mark;
    return status ? status : push(p, p->values++, err);
}

// Items after the mark (or the topmost `last`) into the list or dict below them.
static gm_status extend(gm__pickle *p, gm__pickle_kind kind, int from, bool mark, gm_error *err) {
    int until = p->depth, container = from - mark - 1;
    if (from < mark || container < 0 || p->stack[container] == MARK || p->value[p->stack[container]].kind != kind ||
        (kind == GM__PICKLE_DICT && (until - from) % 2 != 0))
        return bad(p, err, "its pickle adds items to what is no list or dict");
    gm_status status = GM_OK;
    for (int i = from; i < until && !status; i++) {
        if (p->stack[i] == MARK) return bad(p, err, "its pickle adds a mark to a list or dict");
        status = chain(p, p->stack[container], p->stack[i], err);
    }
    p->depth = container + 1;
    return status;
}

static gm_status memorize(gm__pickle *p, uint64_t at, gm_error *err) {
    if (p->depth == 0 || p->stack[p->depth - 1] == MARK)
        return bad(p, err, "its pickle remembers a value of an empty stack");
    if (at > (uint64_t)p->memos) return bad(p, err, "its pickle numbers remembered values with holes");
    void *memo = p->memo;
    if (!room(&memo, p->memos, &p->memos_cap, sizeof *p->memo)) return no_memory(p, err);
    p->memo = memo;
    p->memo[at] = p->stack[p->depth - 1];
    if (at == (uint64_t)p->memos) p->memos++;
    return GM_OK;
}

static gm_status recall(gm__pickle *p, uint64_t at, gm_error *err) {
    if (at >= (uint64_t)p->memos) return bad(p, err, "its pickle recalls a value that it did not remember");
    return push(p, p->memo[at], err);
}

// The items of a tuple; -1 where it has fewer.
static int arguments(const gm__pickle *p, int tuple, int out[MAX_ARGUMENTS]) {
    int n = 0;
    for (int i = 0; i < MAX_ARGUMENTS; i++) out[i] = -1;
    if (p->value[tuple].kind != GM__PICKLE_TUPLE || p->value[tuple].count > MAX_ARGUMENTS) return -1;
    for (int c = p->value[tuple].count ? p->value[tuple].first : -1; c >= 0; c = p->cell[c].next)
        out[n++] = p->cell[c].value;
    return n;
}

static bool is(const gm__pickle *p, int value, gm__pickle_kind kind) {
    return value >= 0 && p->value[value].kind == kind;
}

bool gm__pickle_text_is(const gm__pickle *p, int value, const char *text) {
    return is(p, value, GM__PICKLE_TEXT) && p->value[value].u.text.length == strlen(text) &&
           memcmp(p->value[value].u.text.text, text, strlen(text)) == 0;
}

int gm__pickle_lookup(const gm__pickle *p, int dict, const char *key) {
    if (!is(p, dict, GM__PICKLE_DICT) || p->value[dict].count == 0) return -1;
    for (int c = p->value[dict].first; c >= 0;) {
        int value = p->cell[c].next;
        if (gm__pickle_text_is(p, p->cell[c].value, key)) return p->cell[value].value;
        c = p->cell[value].next;
    }
    return -1;
}

static gm_status read_reduce(gm__pickle *p, gm_error *err) {
    int tuple, callable = -1, a[MAX_ARGUMENTS];
    gm_status status = pop(p, &tuple, err);
    if (!status) status = pop(p, &callable, err);
    if (status) return status;
    int n = arguments(p, tuple, a);
    global_kind kind = is(p, callable, GM__PICKLE_GLOBAL) ? globals[p->value[callable].u.whole].kind : STORAGE;
    switch (kind) {
    case ORDERED_DICT:
        if (n == 0) return push_value(p, (gm__pickle_value){.kind = GM__PICKLE_DICT}, err);
        break;
    case SIZE:
        if (n == 1 && is(p, a[0], GM__PICKLE_TUPLE)) return push(p, a[0], err);
        break;
    case REBUILD_PARAMETER:
        if (n >= 1 && is(p, a[0], GM__PICKLE_TENSOR)) return push(p, a[0], err);
        break;
    case REBUILD_TENSOR:
    case REBUILD_TENSOR_V2:
        if (n >= 4 && is(p, a[0], GM__PICKLE_STORAGE) && is(p, a[1], GM__PICKLE_INT) && is(p, a[2], GM__PICKLE_TUPLE) &&
            is(p, a[3], GM__PICKLE_TUPLE))
            return push_value(
                p,
                (gm__pickle_value){.kind = GM__PICKLE_TENSOR, .u.tensor = {p->value[a[1]].u.whole, a[0], a[2], a[3]}},
                err);
        break;
    case STORAGE: break;
    }
    return bad(p, err, "its pickle makes an object in a way that torch.save does not");
}

static gm_status read_storage(gm__pickle *p, gm_error *err) {
    int tuple, a[MAX_ARGUMENTS];
    gm_status status = pop(p, &tuple, err);
    if (status) return status;
    int n = arguments(p, tuple, a);
    bool plain = n == 5 || (n == 6 && is(p, a[5], GM__PICKLE_NONE));
    if (!plain || !gm__pickle_text_is(p, a[0], "storage") || !is(p, a[1], GM__PICKLE_GLOBAL) ||
        globals[p->value[a[1]].u.whole].kind != STORAGE || !is(p, a[2], GM__PICKLE_TEXT) ||
        !is(p, a[4], GM__PICKLE_INT) || p->value[a[4]].u.whole < 0)
        return bad(p, err, "a storage in a form that torch.save does not write, or a view of another one");
    return push_value(
        p,
        (gm__pickle_value){.kind = GM__PICKLE_STORAGE,
                           .u.storage = {p->value[a[4]].u.whole, a[2], globals[p->value[a[1]].u.whole].type}},
        err);
}

// Opcodes that push a plain value. false: none of them.
static bool step_value(gm__pickle *p, uint8_t op, gm_status *status, gm_error *err) {
    uint64_t v = 0;
    switch (op) {
    case 'N': *status = push_whole(p, GM__PICKLE_NONE, 0, err); return true;
    case 0x88: *status = push_whole(p, GM__PICKLE_BOOL, 1, err); return true;
    case 0x89: *status = push_whole(p, GM__PICKLE_BOOL, 0, err); return true;
    case 'J': // 4 bytes, signed
    case 'K':
    case 'M':
        *status = take_number(p, op == 'J' ? 4 : op == 'K' ? 1 : 2, &v, err);
        if (!*status)
            *status = push_whole(p, GM__PICKLE_INT, op == 'J' ? (int64_t)(int32_t)(uint32_t)v : (int64_t)v, err);
        return true;
    case 0x8a: *status = read_long(p, err); return true;
    case 'G': *status = read_float(p, err); return true;
    case 'X': *status = read_text(p, err); return true;
    case 'c': *status = read_global(p, err); return true;
    case '}': *status = push_value(p, (gm__pickle_value){.kind = GM__PICKLE_DICT}, err); return true;
    case ']': *status = push_value(p, (gm__pickle_value){.kind = GM__PICKLE_LIST}, err); return true;
    case ')': *status = push_value(p, (gm__pickle_value){.kind = GM__PICKLE_TUPLE}, err); return true;
    default: return false;
    }
}

// Opcodes that work on what is there.
static gm_status step_stack(gm__pickle *p, uint8_t op, gm_error *err) {
    uint64_t v = 0;
    int unused, mark = op == 't' || op == 'e' || op == 'u' ? find_mark(p) : 0;
    if (mark < 0) return bad(p, err, "its pickle looks for a mark that is not there");
    gm_status status = GM_OK;
    switch (op) {
    case '(': return push(p, MARK, err);
    case 't': return make_tuple(p, mark + 1, true, err);
    case 0x85:
    case 0x86:
    case 0x87:
        if (p->depth < op - 0x84) return bad(p, err, "its pickle takes a value from an empty stack");
        return make_tuple(p, p->depth - (op - 0x84), false, err);
    case 'a': return extend(p, GM__PICKLE_LIST, p->depth - 1, false, err);
    case 'e': return extend(p, GM__PICKLE_LIST, mark + 1, true, err);
    case 's': return extend(p, GM__PICKLE_DICT, p->depth - 2, false, err);
    case 'u': return extend(p, GM__PICKLE_DICT, mark + 1, true, err);
    case 'q':
    case 'r': status = take_number(p, op == 'q' ? 1 : 4, &v, err); return status ? status : memorize(p, v, err);
    case 'h':
    case 'j': status = take_number(p, op == 'h' ? 1 : 4, &v, err); return status ? status : recall(p, v, err);
    case 'R': return read_reduce(p, err);
    case 'Q': return read_storage(p, err);
    case 'b': return pop(p, &unused, err); // attributes of a dict (its _metadata): not needed
    default:
        p->at--;
        return gm_fail(err, GM_ERR_UNSUPPORTED,
                       "%s: byte %zu: pickle opcode 0x%02x, which torch.save does not write for weights", p->what,
                       p->at, op);
    }
}

gm_status gm__pickle_read(gm__pickle *p, const char *what, const uint8_t *data, size_t bytes, size_t at, size_t *end,
                          int *root, gm_error *err) {
    *p = (gm__pickle){.what = what, .data = data, .bytes = bytes, .at = at};
    const uint8_t *head;
    gm_status status = take(p, 2, &head, err);
    if (!status && (head[0] != 0x80 || head[1] < 2 || head[1] > 5))
        status = bad(p, err, "no pickle of protocol 2 to 5 starts here");
    while (!status) {
        const uint8_t *op;
        status = take(p, 1, &op, err);
        if (status || *op == '.') break;
        if (!step_value(p, *op, &status, err)) status = step_stack(p, *op, err);
    }
    if (!status) status = pop(p, root, err);
    if (!status && p->depth != 0) status = bad(p, err, "its pickle leaves values behind");
    *end = p->at;
    return status;
}
