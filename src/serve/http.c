// SPDX-License-Identifier: Apache-2.0
#include "serve/http.h"

#include "serve/crew.h"
#include "serve/http_peer.h"

#include <stdlib.h>
#include <string.h>

enum { HEADER_POOL = 32 * 1024, URL_BYTES = 8 * 1024, FIELDS = 100, BODY_RATE = 1024, FIRST_BODY = 4096 };
static const int64_t SECOND = 1000000000;

const char *gm__http_header(const gm__exchange *x, const char *name) {
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

unsigned gm__http_status_of(gm_status status) {
    switch (status) {
    case GM_OK: return MHD_HTTP_OK;
    case GM_ERR_NOT_FOUND: return MHD_HTTP_NOT_FOUND;
    case GM_ERR_UNSUPPORTED: return MHD_HTTP_NOT_IMPLEMENTED;
    case GM_ERR_MEMORY:
    case GM_ERR_STATE: return MHD_HTTP_SERVICE_UNAVAILABLE;
    case GM_ERR_IO:
    case GM_ERR_NUMERIC:
    case GM_ERR_INTERRUPTED: return MHD_HTTP_INTERNAL_SERVER_ERROR;
    case GM_ERR_ARGUMENT:
    case GM_ERR_FORMAT:
    case GM_ERR_RANGE: break;
    }
    return MHD_HTTP_BAD_REQUEST;
}

// ---------------------------------------------------------------------------------------------
// Answers
void gm__http_answer(gm__exchange *x, unsigned status, const char *type) {
    x->status = status;
    x->type = type;
    x->answered = true;
    if (x->waiting) {
        x->waiting = false;
        if (x->peer != NULL) x->peer->waits = NULL;
        MHD_resume_connection(x->connection);
    }
}

void gm__http_error(gm__exchange *x, unsigned status, const char *format, ...) {
    char line[600];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    gm__text_fini(&x->text);
    gm__text_print(&x->text, "{\"error\":");
    gm__text_json(&x->text, line);
    gm__text_print(&x->text, "}");
    gm__http_answer(x, status, "application/json");
}

static enum MHD_Result send_answer(gm__exchange *x) {
    static const char nothing[] = "{\"error\":\"out of memory\"}";
    bool whole = !x->text.failed;
    size_t bytes = x->text.bytes;
    struct MHD_Response *response =
        whole ? MHD_create_response_from_buffer(x->text.bytes, x->text.data, MHD_RESPMEM_MUST_FREE)
              : MHD_create_response_from_buffer(sizeof nothing - 1, (void *)(uintptr_t)nothing, MHD_RESPMEM_PERSISTENT);
    if (response == NULL) return MHD_NO;
    if (whole) x->text = (gm__text){0}; // the response's now
    char number[32];
    if (x->type != NULL) MHD_add_response_header(response, "Content-Type", whole ? x->type : "application/json");
    if (x->json_bytes > 0 && whole) {
        snprintf(number, sizeof number, "%zu", x->json_bytes);
        MHD_add_response_header(response, "Inference-Header-Content-Length", number);
    }
    if (x->retry_seconds > 0) {
        snprintf(number, sizeof number, "%d", x->retry_seconds);
        MHD_add_response_header(response, "Retry-After", number);
    }
    if (x->status == MHD_HTTP_UNAUTHORIZED) MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (x->closing || x->http->stopping) MHD_add_response_header(response, "Connection", "close");
    enum MHD_Result result = MHD_queue_response(x->connection, whole ? x->status : MHD_HTTP_INTERNAL_SERVER_ERROR, response);
    MHD_destroy_response(response);
    if (x->peer != NULL) x->peer->limit_ns = x->http->now_ns + x->http->header_ns + (int64_t)bytes / BODY_RATE * SECOND;
    return result;
}

// ---------------------------------------------------------------------------------------------
// Who may ask what
static bool host_known(const gm__http *h, const char *value, size_t bytes) {
    if (h->host[0] == NULL) return true;
    const char *colon = bytes > 0 && value[0] == '[' ? memchr(value, ']', bytes) : memchr(value, ':', bytes);
    if (colon != NULL) bytes = (size_t)(colon - value) + (*colon == ']' ? 1 : 0);
    for (size_t i = 0; i < sizeof h->host / sizeof *h->host && h->host[i] != NULL; i++)
        if (strlen(h->host[i]) == bytes && strncasecmp(h->host[i], value, bytes) == 0) return true;
    return false;
}

typedef struct fields {
    int count, lengths, encodings, hosts;
    const char *host, *origin, *type;
} fields;

static enum MHD_Result count_field(void *context, enum MHD_ValueKind kind, const char *key, const char *value) {
    fields *f = context;
    (void)kind;
    f->count++;
    if (strcasecmp(key, "Content-Length") == 0) f->lengths++;
    if (strcasecmp(key, "Transfer-Encoding") == 0) f->encodings++;
    if (strcasecmp(key, "Host") == 0) f->hosts++, f->host = value;
    if (strcasecmp(key, "Origin") == 0) f->origin = value;
    if (strcasecmp(key, "Content-Type") == 0) f->type = value;
    return MHD_YES;
}

static bool type_accepted(const char *type) {
    static const char *const known[] = {"application/json", "application/octet-stream"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t n = strlen(known[i]);
        if (strncasecmp(type, known[i], n) == 0 && (type[n] == '\0' || type[n] == ';' || type[n] == ' ')) return true;
    }
    return false;
}

// Request smuggling, DNS rebinding and pages of other sites (specs: hardening 5.1). False: answered.
static bool headers_accepted(gm__exchange *x, const char *method) {
    fields f = {0};
    MHD_get_connection_values(x->connection, MHD_HEADER_KIND, count_field, &f);
    x->closing = true;
    if (f.count > FIELDS) return gm__http_error(x, 431, "more than %d header fields", FIELDS), false;
    if (f.lengths > 1 || f.encodings > 1 || (f.lengths > 0 && f.encodings > 0))
        return gm__http_error(x, 400, "the length of the body is stated twice"), false;
    if (f.hosts > 1) return gm__http_error(x, 400, "more than one Host field"), false;
    if (f.host != NULL && !host_known(x->http, f.host, strlen(f.host)))
        return gm__http_error(x, 403, "requests for the host '%.80s' are not served here (see --host)", f.host), false;
    if (f.origin != NULL) {
        const char *host = strstr(f.origin, "://");
        if (host == NULL || f.host == NULL || strcasecmp(host + 3, f.host) != 0)
            return gm__http_error(x, 403, "requests from pages of other sites are not served"), false;
    }
    if (strcmp(method, "POST") == 0 && f.type != NULL && !type_accepted(f.type))
        return gm__http_error(x, 415, "the content type is '%.80s'; it must be application/json or application/octet-stream",
                              f.type),
               false;
    x->closing = false;
    return true;
}

typedef enum match { MATCH_NO, MATCH, MATCH_OTHER_MODEL, MATCH_OTHER_VERSION, MATCH_NO_VERSION } match;

// Does path match, {m} being the model's name?
static match path_matches(const char *pattern, const char *path, const char *model) {
    static const char versions[] = "/versions/";
    const char *hole = strstr(pattern, "{m}"), *version = NULL;
    if (hole == NULL) return strcmp(pattern, path) == 0 ? MATCH : MATCH_NO;
    size_t before = (size_t)(hole - pattern), name, digits = 0, bytes = 0;
    if (strncmp(pattern, path, before) != 0) return MATCH_NO;
    path += before;
    name = strcspn(path, "/");
    const char *rest = path + name;
    if (strncmp(rest, versions, sizeof versions - 1) == 0) {
        version = rest + sizeof versions - 1;
        bytes = strcspn(version, "/");
        digits = strspn(version, "0123456789");
        rest = version + bytes;
    }
    if (strcmp(hole + 3, rest) != 0) return MATCH_NO;
    if (strlen(model) != name || strncmp(model, path, name) != 0) return MATCH_OTHER_MODEL;
    if (version == NULL || (bytes == 1 && *version == '1')) return MATCH;
    return bytes > 0 && digits == bytes ? MATCH_OTHER_VERSION : MATCH_NO_VERSION;
}

static void answer_unrouted(gm__exchange *x, match best) {
    const char *model = x->http->model;
    switch (best) {
    case MATCH: gm__http_error(x, MHD_HTTP_METHOD_NOT_ALLOWED, "this path is not for that method"); break;
    case MATCH_OTHER_MODEL:
        gm__http_error(x, MHD_HTTP_NOT_FOUND, "there is no such model here; this server has '%s' (GET /v2/repository/index)", model);
        break;
    case MATCH_OTHER_VERSION:
        gm__http_error(x, MHD_HTTP_NOT_FOUND, "the model '%s' has no such version; it has version 1", model);
        break;
    case MATCH_NO_VERSION:
        gm__http_error(x, MHD_HTTP_BAD_REQUEST, "a version is a whole number; the model '%s' has version 1", model);
        break;
    case MATCH_NO: gm__http_error(x, MHD_HTTP_NOT_FOUND, "no such path (docs/http.md lists them)"); break;
    }
}

// False: answered.
static bool find_route(gm__exchange *x, const char *method, const char *path) {
    gm__http *h = x->http;
    match best = MATCH_NO;
    const gm__route *found = NULL;
    for (const gm__route *r = h->routes; r->method != NULL && found == NULL; r++) {
        match how = path_matches(r->path, path, h->model);
        if (how == MATCH && strcmp(r->method, method) == 0) found = r;
        if (best != MATCH && how != MATCH_NO) best = how;
    }
    // An exempt path is exempt for its method alone.
    if (h->keys != NULL && (found == NULL || found->access != GM__ANYONE) &&
        !gm__keys_accept(h->keys, gm__http_header(x, "Authorization"))) {
        x->closing = true;
        gm__http_error(x, MHD_HTTP_UNAUTHORIZED, "unauthorized");
        return false;
    }
    x->route = found;
    if (found != NULL) return true;
    x->closing = strcmp(method, "GET") != 0;
    answer_unrouted(x, best);
    return false;
}

// ---------------------------------------------------------------------------------------------
// Bodies
static bool grow_body(gm__exchange *x, size_t wanted) {
    if (wanted <= x->room) return true;
    size_t room = x->room * 2 > wanted ? x->room * 2 : wanted;
    char *body = realloc(x->body, room);
    if (body == NULL) return false;
    x->body = body;
    x->room = room;
    return true;
}

// False: answered.
static bool expect_body(gm__exchange *x) {
    const char *text = gm__http_header(x, "Content-Length");
    if (gm__http_header(x, "Transfer-Encoding") != NULL) return grow_body(x, FIRST_BODY) || true;
    unsigned long long bytes = text != NULL ? strtoull(text, NULL, 10) : 0; // the library has checked its form
    if (bytes > x->http->max_body) {
        x->closing = true;
        gm__http_error(x, 413, "the body has %llu bytes; this server takes at most %zu (--max-body)", bytes, x->http->max_body);
        return false;
    }
    if (bytes > 0 && !grow_body(x, (size_t)bytes)) {
        x->closing = true;
        gm__http_error(x, MHD_HTTP_SERVICE_UNAVAILABLE, "no memory for the request");
        return false;
    }
    if (x->peer != NULL) {
        int64_t limit = x->http->header_ns + (int64_t)(bytes / BODY_RATE + 1) * SECOND;
        x->peer->limit_ns = x->arrived_ns + (limit < x->http->total_ns ? limit : x->http->total_ns);
    }
    return true;
}

static enum MHD_Result take_body(gm__exchange *x, const char *data, size_t *bytes) {
    if (*bytes > x->http->max_body - x->bytes || !grow_body(x, x->bytes + *bytes)) return MHD_NO; // cut: chunked and too long
    memcpy(x->body + x->bytes, data, *bytes);
    x->bytes += *bytes;
    *bytes = 0;
    return MHD_YES;
}

// ---------------------------------------------------------------------------------------------
// What the library calls
static enum MHD_Result begin(gm__http *h, struct MHD_Connection *connection, const char *url, const char *method, void **own) {
    gm__exchange *x = calloc(1, sizeof *x);
    if (x == NULL) return MHD_NO;
    *own = x;
    x->http = h;
    x->connection = connection;
    x->peer = gm__peer_of(connection);
    x->arrived_ns = gm__now_ns();
    if (strlen(url) > URL_BYTES) {
        x->closing = true;
        gm__http_error(x, 414, "the path is too long");
    }
    if (!x->answered && headers_accepted(x, method) && find_route(x, method, url) && expect_body(x)) return MHD_YES;
    h->refused++;
    return x->closing ? send_answer(x) : MHD_YES;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *data, size_t *bytes, void **own) {
    gm__http *h = context;
    gm__exchange *x = *own;
    (void)version;
    if (x == NULL) return begin(h, connection, url, method, own);
    if (x->answered && x->closing && *bytes > 0) {
        *bytes = 0;
        return MHD_YES;
    }
    if (*bytes > 0) return take_body(x, data, bytes);
    if (!x->answered && x->route != NULL) {
        x->route->handle(h->context, x);
        if (!x->answered) {
            x->waiting = true;
            MHD_suspend_connection(connection);
            if (x->peer != NULL) gm__peer_wait(x->peer, x);
            return MHD_YES;
        }
    }
    return send_answer(x);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **own, enum MHD_RequestTerminationCode how) {
    gm__http *h = context;
    gm__exchange *x = *own;
    (void)connection;
    if (x == NULL) return;
    if (how == MHD_REQUEST_TERMINATED_COMPLETED_OK) h->sent(h->context, x);
    if (x->peer != NULL) x->peer->limit_ns = h->now_ns + h->idle_ns;
    free(x->body);
    gm__text_fini(&x->text);
    free(x);
    *own = NULL;
}

static void log_line(void *context, const char *format, va_list list) {
    char line[300];
    (void)context;
    vsnprintf(line, sizeof line, format, list);
    line[strcspn(line, "\n")] = '\0';
    gm_log(GM_LOG_DEBUG, "http: %s", line);
}

gm_status gm__http_start(gm__http *h, int socket, int max_connections, gm_error *err) {
    unsigned seconds = (unsigned)(h->total_ns / SECOND) + 1;
    gm_status status = gm__peers_watch(h, err);
    if (status != GM_OK) return status;
    h->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_TURBO | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, gm__peer_may_connect, h, on_request, h,
        MHD_OPTION_EXTERNAL_LOGGER, log_line, NULL, MHD_OPTION_LISTEN_SOCKET, socket, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)max_connections, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_POOL, MHD_OPTION_CONNECTION_TIMEOUT,
        seconds, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_NOTIFY_CONNECTION, gm__peer_on_connection, h,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (h->daemon != NULL) return GM_OK;
    return gm_fail(err, GM_ERR_IO, "the HTTP library could not be started (are there enough file descriptors?)");
}

void gm__http_stop(gm__http *h) {
    if (h->daemon != NULL) MHD_stop_daemon(h->daemon);
    h->daemon = NULL;
    gm__peers_forget(h);
}

int gm__http_fd(const gm__http *h) {
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    return info != NULL ? info->epoll_fd : -1;
}

bool gm__http_run(gm__http *h, int64_t now_ns) {
    MHD_UNSIGNED_LONG_LONG wait = 0;
    h->now_ns = now_ns;
    MHD_run(h->daemon);
    return MHD_get_timeout(h->daemon, &wait) == MHD_YES && wait == 0;
}
