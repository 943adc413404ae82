#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every `gamut ...` in the README and the pages of docs/ names a command that exists, and options that this command has; every
# recipe and every page that they name is there.
. "$(dirname "$0")/common.bash"
cd "$(dirname "$0")/../.."
pages=(README.md CONTRIBUTING.md docs/*.md experiments/*/README.md)

# FILE:LINE, a tab, the command: from blocks of code, continued lines as one, and from `code` within text.
commands() {
    awk '
    FNR == 1 { fence = 0; before = "" }
    /^```/ { fence = !fence; next }
    fence && /\\$/ { before = before substr($0, 1, length($0) - 1); next }
    fence {
        line = before $0
        before = ""
        if (match(line, /^ *(\$ )?([A-Z_]+=[^ ]+ )*(build\/release\/)?gamut /)) print FILENAME ":" FNR "\t" substr(line, RSTART)
        next
    }
    {
        while (match($0, /`(build\/release\/)?gamut [^`]*`/)) {
            print FILENAME ":" FNR "\t" substr($0, RSTART + 1, RLENGTH - 2)
            $0 = substr($0, RSTART + RLENGTH)
        }
    }' "${pages[@]}"
}

declare -A help # by command
help_of() {     # COMMAND [PART]: sets text
    local key="$*"
    if [ -z "${help[$key]:-}" ]; then
        help[$key]=$("$GAMUT" "$@" --help 2>/dev/null) || help[$key]=none
    fi
    text=${help[$key]}
}

checked=0
while IFS=$'\t' read -r where line; do
    line=${line%% #*}
    line=${line#*gamut }
    line=${line%%[|>&;]*}
    read -ra word <<<"$line"
    case ${word[0]:-} in
    '' | COMMAND | -* | ...) continue ;;
    checkpoint | bench)
        case ${word[1]:-} in
        [a-z]*) help_of "${word[0]}" "${word[1]}" ;;
        *) help_of "${word[0]}" ;;
        esac
        ;;
    *) help_of "${word[0]}" ;;
    esac
    checked=$((checked + 1))
    [ "$text" != none ] || { fail "$where: no such command: gamut $line" && continue; }
    for w in "${word[@]:1}"; do
        w=${w#[}
        case $w in
        --*) w=${w%%[=\]]*} && grep -qE -- "$w([^a-z-]|\$)" <<<"$text" || fail "$where: gamut ${word[0]} has no option $w" ;;
        examples/*.yaml | experiments/*.yaml) [ -f "$w" ] || fail "$where: no recipe $w" ;;
        esac
    done
done < <(commands)
[ "$checked" -ge 100 ] || fail "only $checked commands were found in the pages"

# Links from page to page.
while IFS=: read -r page link; do
    [ -e "$(dirname "$page")/${link%%#*}" ] || fail "$page: no file $link"
done < <(grep -oHE '[^]]\]\([A-Za-z0-9_/-]*[./][A-Za-z0-9_./-]*[#)]' "${pages[@]}" | sed 's/:.*](/:/; s/[#)]$//')
finish
