#!/bin/sh
# test.sh LIBDIR TARGET [PYTHON]: builds the crates against include/ and LIBDIR, and tests them. TARGET is cargo's folder;
# PYTHON has numpy, to write small models that read texts. All are relative to the repository's root.
set -e
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
libdir=$(cd "$root" && cd "$1" && pwd)
mkdir -p "$root/$2"
export MCM_LIB_DIR="$libdir" CARGO_TARGET_DIR="$root/$2" CARGO_NET_OFFLINE=true
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cargo --version
python3 tools/declarations.py --check
if cargo fmt --version >/dev/null 2>&1; then cargo fmt --check; else echo "rust: no rustfmt, formatting is not checked"; fi
if cargo clippy --version >/dev/null 2>&1; then
    cargo clippy -q --all-targets -- -D warnings
else
    echo "rust: no clippy, lints are not checked"
fi
if [ -n "$3" ]; then
    mkdir "$work/models"
    PYTHONPATH=$root/bindings/python/tests "$root/$3" tools/tiny_models.py "$work/models"
    export MCM_TEST_MODELS="$work/models"
else
    echo "rust: no Python with numpy, models that read texts are not tested"
fi
# Not every cargo lets programs of documentation tests find the library.
LD_LIBRARY_PATH="$libdir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" cargo test -q > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }
grep "^test result" "$work/log" | grep -v " 0 passed"
RUSTDOCFLAGS="-D warnings" cargo doc -q --no-deps

# The example draws what C's draws.
${CC:-cc} -std=c99 -I "$root/include" "$root/examples/c/session.c" -o "$work/session" -L "$libdir" -lmcm \
    -Wl,-rpath,"$libdir"
for seed in 1 7; do
    "$work/session" "$root/examples/fashion" "$work/c.png" "$seed" > /dev/null
    for example in session own_loop; do
        cargo run -q --example $example "$root/examples/fashion" "$work/rust.png" "$seed" > "$work/log"
        cmp "$work/c.png" "$work/rust.png"
    done
done
echo "rust: the examples draw the same image as C's"
cargo run -q --example train "$root/examples/fashion" "$work/module" 4 | tail -n 1
[ -z "$3" ] || cargo run -q --example text_to_image "$work/models/model" "a boot" "$work/text.png" 1 3 | tail -n 1

tools/missing.sh "$libdir"
