# Reads source files (paths relative to the project) and prints one line for each broken rule of
# docs/ARCHITECTURE.md; ends with 1 when there is any. mawk and gawk.

BEGIN {
    count = split("base fetch model kernels quant text checkpoint engine device generate api " \
                  "server cli", names)
    for (i = 1; i <= count; i++) rank[names[i]] = i
    count = split("huggingface gguf onnx openvino", names)
    for (i = 1; i <= count; i++) is_form[names[i]] = 1
}

function complain(what)
{
    printf "%s:%d: %s\n", FILENAME, FNR, what
    broken++
}

# "src/device/cpu.c" -> "cpu"
function stem(path)
{
    sub(/.*\//, "", path)
    sub(/\..*/, "", path)
    return path
}

# What a file belongs to by its first word: huggingface.c and huggingface_write.c are one form.
function family(path)
{
    path = stem(path)
    sub(/_.*/, "", path)
    return path
}

function form(path)
{
    path = family(path)
    return (path in is_form) ? path : ""
}

function check_include(name, target, own, other)
{
    if (name == "phlox_commit.h") return # made by CMake
    if (name ~ /^phlox\//) {
        complain("write <" name ">, not \"" name "\"")
        return
    }
    target = name
    if (name !~ /\//) target = room # beside the file
    sub(/\/.*/, "", target)
    if (!(target in rank)) {
        complain("\"" name "\" is in no room of src/")
        return
    }
    if ((room == "cli" || room == "server") && target != room) {
        complain(room " includes public headers only, not \"" name "\"")
        return
    }
    if (rank[target] > rank[room]) {
        complain(room " stands left of " target " and may not include \"" name "\"")
        return
    }
    if (room == "device" && target == "device") {
        own = family(FILENAME)
        other = family(name)
        if (other != "device" && other != own && own != "choose" && # the list of devices
            name !~ /\/meter\/(meter|fdinfo|rapl)\.h$/)
            complain("files of device/ do not include each other: \"" name "\"")
    }
    if (room == "checkpoint" && target == "checkpoint") {
        own = form(FILENAME)
        other = form(name)
        if (other != "" && other != own && stem(FILENAME) != "forms") # the list of forms
            complain("forms of checkpoint/ are known only to themselves: \"" name "\"")
    }
}

FNR == 1 {
    room = ""
    if (FILENAME ~ /^src\//) {
        split(FILENAME, parts, "/")
        room = parts[2]
        if (!(room in rank)) complain("src/" room " is not a room")
    }
    is_code = FILENAME ~ /\.[chS]$/
}

/\t/ { complain("a tab") }
/[ \r]$/ { complain("blanks at the end of the line") }
FNR == 801 && is_code { complain("the file is longer than 800 lines; look for the second room") }

room != "" && /^[ \t]*#[ \t]*include/ {
    if (match($0, /"[^"]*"/)) check_include(substr($0, RSTART + 1, RLENGTH - 2))
    else if ($0 !~ /<[^>]+>/) complain("#include without a name")
}

END { exit broken > 0 }
