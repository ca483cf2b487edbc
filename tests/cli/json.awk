# Checks that the input is one JSON value and prints its leaves as PATH=VALUE, strings as they are
# written between their quotes. For mawk as for every POSIX awk.
function bad(why) { print "json: " why " at character " at > "/dev/stderr"; failed = 1; exit 1 }
function blank() { while (substr(text, at, 1) ~ /^[ \t\r\n]$/) at++ }
function string(    start, c) {
    if (substr(text, at, 1) != "\"") bad("no string")
    for (start = ++at; (c = substr(text, at, 1)) != "\""; at++) {
        if (c == "" || c ~ /^[\001-\037]$/) bad("a string does not end")
        if (c != "\\") continue
        c = substr(text, ++at, 1)
        if (c == "u" && substr(text, at + 1, 4) !~ /^[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]$/)
            bad("a bad escape")
        if (index("\"\\/bfnrtu", c) == 0) bad("a bad escape")
    }
    return substr(text, start, at++ - start)
}
function value(path,    c, key, i, rest) {
    blank()
    c = substr(text, at, 1)
    if (c == "{" || c == "[") {
        at++
        blank()
        if (substr(text, at, 1) == (c == "{" ? "}" : "]")) { at++; return }
        for (i = 0; ; i++) {
            blank()
            key = "[" i "]"
            if (c == "{") {
                key = "." string()
                blank()
                if (substr(text, at++, 1) != ":") bad("no colon")
            }
            value(path key)
            blank()
            rest = substr(text, at++, 1)
            if (rest == (c == "{" ? "}" : "]")) return
            if (rest != ",") bad("no comma")
        }
    }
    if (c == "\"") { print path "=" string(); return }
    rest = substr(text, at, 40)
    if (match(rest, /^(true|false|null|-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?)/) == 0)
        bad("no value")
    print path "=" substr(rest, 1, RLENGTH)
    at += RLENGTH
}
{ text = text $0 "\n" }
END {
    if (failed) exit 1
    at = 1
    value("")
    blank()
    if (at <= length(text)) bad("something behind the end")
    exit failed
}
