# SPDX-License-Identifier: Apache-2.0
# For tests of pages: opens a page in headless Chromium at 1280 and at 390 pixels, light and dark, and looks at what it drew.
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -z "$browser" ]; then
    echo "skipped: needs chromium"
    exit 0
fi

# Inside the page: errors and violations of its own policy are collected from the first script on; a while after it was loaded
# it tells the outer page what it drew. $1: a script to run first. Standard input to standard output.
with_check() {
    awk -v first="$1" '
        /<head>/ && !done { print; done = 1
            print "<script>window.problems = [];"
            print "addEventListener(\"error\", e => problems.push(String(e.message)));"
            print "addEventListener(\"unhandledrejection\", e => problems.push(String(e.reason)));"
            print "document.addEventListener(\"securitypolicyviolation\", e => problems.push(\"policy: \" + e.violatedDirective));"
            print "console.error = console.warn = (...a) => problems.push(a.join(\" \"));"
            while ((getline line < first) > 0) print line
            print "</script>"; next }
        /<\/body>/ { print "<script>addEventListener(\"load\", () => setTimeout(() => {"
            print "const drawn = c => c.width > 0 && new Uint32Array(c.getContext(\"2d\").getImageData(0, 0, c.width, c.height).data.buffer).some(v => v);"
            print "const canvases = [...document.querySelectorAll(\"canvas\")], wide = document.documentElement.scrollWidth - innerWidth;"
            print "const over = canvases.filter(c => c.getBoundingClientRect().right > innerWidth).length;"
            print "const unnamed = canvases.filter(c => !c.getAttribute(\"aria-label\")).length + [...document.querySelectorAll(\"button,summary,a\")].filter(b => !b.textContent.trim()).length;"
            print "for (const b of document.querySelectorAll(\".legend button, .switch button\")) { b.click(); b.click(); }"
            print "dispatchEvent(new Event(\"beforeprint\")); dispatchEvent(new Event(\"afterprint\"));"
            print "const light = getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).reduce((a, b) => a + Number(b), 0) > 380;"
            print "parent.postMessage([\"width=\" + innerWidth, \"canvases=\" + canvases.length, \"blank=\" + canvases.filter(c => !drawn(c)).length,"
            print "\"wide=\" + Math.max(0, wide), \"over=\" + over, \"unnamed=\" + unnamed, \"light=\" + light, \"fetched=\" + performance.getEntriesByType(\"resource\").length,"
            print "\"tables=\" + document.querySelectorAll(\"figure details table\").length, \"sections=\" + [...document.querySelectorAll(\"section\")].map(s => s.id).join(\",\"),"
            print "\"problems=\" + problems.join(\"; \")].join(\"|\"), \"*\"); }, 300));</script>" }
        { print }'
}

# look PAGE light|dark: two lines in $work/seen, one a width.
look() {
    local scheme=1
    [ "$2" = light ] || scheme=0
    cat >"$work/outer.html" <<HTML
<body><pre id="seen"></pre>
<iframe src="$1" style="width:1280px;height:2000px"></iframe><iframe src="$1" style="width:390px;height:2000px"></iframe>
<script>addEventListener('message', e => { document.getElementById('seen').textContent += e.data + '\n'; });</script></body>
HTML
    timeout 120 "$browser" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir="$work/profile" \
        --blink-settings=preferredColorScheme=$scheme --window-size=1800,2200 --virtual-time-budget=8000 --dump-dom \
        "file://$work/outer.html" 2>"$work/browser" | grep '|canvases=' | sed 's/.*\(width=\)/\1/' >"$work/seen"
    [ "$(wc -l <"$work/seen")" = 2 ] || fail "$1 ($2): the browser told of $(wc -l <"$work/seen") pages, not of two"
}

# every TEXT: both widths saw it.
every() { [ "$(grep -c -- "$1" "$work/seen")" = 2 ] || fail "not at both widths: $1; seen: $(cat "$work/seen")"; }
