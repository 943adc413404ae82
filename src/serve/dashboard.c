// SPDX-License-Identifier: Apache-2.0
// GET /: a small page that polls the status feed.
#include "serve/server.h"

#include <string.h>

static const char page[] =
    "<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'><title>gamut</title>"
    "<style>body{font:16px system-ui;margin:2rem;color-scheme:light dark}pre{white-space:pre-wrap}</style>"
    "<h1>gamut</h1><pre id=s>...</pre><script>setInterval(async()=>{const r=await fetch('/v2/gamut/status');"
    "const j=await r.json();delete j.series;document.getElementById('s').textContent=JSON.stringify(j,null,1)},1000)"
    "</script>";

void gm__answer_page(void *server, gm__exchange *x) {
    (void)server;
    gm__text_add(&x->text, page, strlen(page));
    gm__http_answer(x, MHD_HTTP_OK, "text/html; charset=utf-8");
}
