#!/bin/sh
# docs.sh LIBDIR: builds the code blocks of docs/cpp.md, and runs them one after the other in a folder with examples/.
# Blocks without a main share a model, a session with a module, and its id.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../../..
libdir=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

awk -v folder="$work" '
    /^```/ && inside { inside = 0; close(file); next }
    /^```cpp/ { inside = 1; file = sprintf("%s/%02d%s.txt", folder, ++count, NF > 1 ? "-" $2 : ""); next }
    inside { print > file }' "$root/docs/cpp.md"
ln -s "$root/examples" "$work/examples"
for block in "$work"/*.txt; do
    source=${block%.txt}.cpp flags=
    case $block in *-results.txt) flags=-DMCM_NO_EXCEPTIONS ;; esac
    if grep -q "int main" "$block"; then
        cp "$block" "$source"
    elif [ -n "$flags" ]; then
        { printf '#include <cstdio>\n#include <mcm.hpp>\nstatic void block() {\n'; cat "$block"
          printf '}\nint main() { block(); }\n'; } > "$source"
    else
        { printf '#include <cstdio>\n#include <mcm.hpp>\n'
          printf 'static void block(mcm::Model &model, mcm::Session &session, mcm::AttachmentId id) {\n'
          printf '(void)model, (void)session, (void)id;\n'; cat "$block"
          printf '}\nint main() {\nauto model = mcm::Model::open("examples/fashion/base");\n'
          printf 'auto module = mcm::Modulator::open("examples/fashion/module.mcm.safetensors");\n'
          printf 'mcm::SessionOptions options;\noptions.scheduler = mcm::SchedulerKind::ddim;\noptions.steps = 25;\n'
          printf 'auto session = mcm::Session::create(model, options);\nauto id = session.attach(module);\n'
          printf 'session.seed(1);\nblock(model, session, id);\n}\n'; } > "$source"
    fi
    "${CXX:-g++}" -std=c++17 -Wall -Wno-unused-variable $flags -I "$root/include" -I "$root/bindings/cpp" "$source" \
        -o "${block%.txt}" -L "$libdir" -Wl,-rpath,"$libdir" -lmcm
    (cd "$work" && "${block%.txt}" > log 2>&1) || { cat "$source" "$work/log"; exit 1; }
done
[ -s "$work/out.png" ] && [ -s "$work/photo.png" ] && [ -s "$work/mine.mcm.safetensors" ]
echo "docs/cpp.md: $(ls "$work"/*.cpp | wc -l) blocks passed"
