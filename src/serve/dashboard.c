// SPDX-License-Identifier: Apache-2.0
// GET /: the dashboard, one page with everything inside; it polls the status feed.
#include "serve/server.h"

#include <gamut/web.h>

gm_status gm__dashboard_make(gm_server *s, gm_error *err) {
    return gm_web_page("dashboard.html", NULL, &s->page, &s->page_bytes, err);
}

void gm__answer_page(void *server, gm__exchange *x) {
    const gm_server *s = server;
    gm__text_add(&x->text, s->page, s->page_bytes);
    gm__http_answer(x, MHD_HTTP_OK, "text/html; charset=utf-8");
}
