#!/bin/sh
# What tools/abi.sh catches and what it lets pass, on changed copies of the header.
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
"$root/tools/abi.sh" dump "$work/old.abi" || exit 1

# expect breaks|passes NAME SED: what the check says of a header that is changed by the sed script.
expect() {
    expected=$1 name=$2
    sed -e "$3" "$root/include/mcm.h" > "$work/mcm.h"
    if cmp -s "$root/include/mcm.h" "$work/mcm.h"; then found="has no effect on mcm.h"
    elif ! gcc -fsyntax-only "$work/mcm.h" 2> "$work/report"; then found="does not compile"
    elif MCM_HEADER=$work/mcm.h "$root/tools/abi.sh" check "$work/old.abi" > "$work/report" 2>&1; then found=passes
    elif grep -q '^error: mcm.h breaks' "$work/report"; then found=breaks
    else found="is an error of another kind"; fi
    if [ "$found" = "$expected" ]; then
        echo "ok   $name: $found"
        passed=$((passed + 1))
    else
        cat "$work/report"
        echo "FAIL $name: $found, expected: $expected"
        failed=$((failed + 1))
    fi
}

expect breaks "a function is removed" '/^void mcm_rng_free(/d'
expect breaks "a function is renamed" 's/\bmcm_rng_free(/mcm_rng_delete(/'
expect breaks "an argument's type is changed" 's/mcm_rng_create(uint64_t seed/mcm_rng_create(uint32_t seed/'
expect breaks "an argument becomes unsigned" 's/mcm_status_name(mcm_status/mcm_status_name(uint32_t/'
expect breaks "an argument is added" 's/mcm_rng_create(uint64_t seed, /&uint32_t kind, /'
expect breaks "an argument is removed" 's/mcm_rng_create(uint64_t seed, /mcm_rng_create(/'
expect breaks "a result's type is changed" 's/^uint32_t mcm_version(/uint64_t mcm_version(/'
expect breaks "a callback's argument is changed" '/(\*mcm_progress)/s/uint32_t step,/uint64_t step,/'
expect breaks "fields are reordered" '/^typedef struct mcm_attach_options {/,/^}/{
    s/float weight;/int32_t other_base_;/
    s/int32_t other_base;/float weight;/
    s/other_base_/other_base/
}'
expect breaks "fields of one type are reordered" 's/float beta1, beta2;/float beta2, beta1;/'
expect breaks "a field is removed" '/^typedef struct mcm_image {/,/^}/{/row_stride/d}'
expect breaks "a field is inserted" '/^typedef struct mcm_image {/,/^}/s/uint32_t struct_size;/&  uint64_t more;/'
expect breaks "a field is put where there was padding" 's/ const char \*scheduler_options;/ uint32_t more;\n&/'
expect breaks "a field's type is changed" '/^typedef struct mcm_image {/,/^}/s/size_t row_stride/uint32_t row_stride/'
expect breaks "a field becomes signed" '/^typedef struct mcm_image {/,/^}/s/uint32_t width/int32_t width/'
expect breaks "a field's type is changed and one is added at the end" '/^typedef struct mcm_image {/,/^}/{
    s/uint32_t width/int32_t width/
    s/size_t row_stride;/&  uint64_t more;/
}'
expect breaks "fields are reordered and one is added at the end" '/^typedef struct mcm_image {/,/^}/{
    s/uint32_t width/uint32_t height_/
    s/uint32_t height;/uint32_t width;/
    s/height_/height/
    s/size_t row_stride;/&  uint64_t more;/
}'
expect breaks "the struct that will not grow grows" '/^typedef struct mcm_memory_file {/,/^}/s/size_t size;/& size_t more;/'
expect breaks "an array in a struct grows" 's/char base_fingerprint\[24\]/char base_fingerprint[32]/'
expect breaks "a constant is changed" 's/^#define MCM_ERROR_IO 100/#define MCM_ERROR_IO 110/'
expect breaks "a constant is removed" '/^#define MCM_SCHEDULER_LCM /d'

expect passes "a comment is changed" 's/^ \* libmcm: .*/ * changed/'
expect passes "an argument is renamed" 's/mcm_rng_create(uint64_t seed/mcm_rng_create(uint64_t number/'
expect passes "a function is added" 's/^void mcm_rng_free(.*/&\nvoid mcm_rng_reset(mcm_rng *rng, uint64_t seed);/'
expect passes "a constant is added" 's/^#define MCM_ERROR_CPU .*/#define MCM_ERROR_NETWORK 105\n&/'
expect passes "a field is added at the end" '/^typedef struct mcm_image {/,/^}/s/size_t row_stride;/&  uint64_t more;/'
expect passes "fields are added at the end of several structs" 's/^} mcm_[a-z_]*\(options\|info\);/uint64_t more, most; &/'
expect passes "the version is raised" 's/^#define MCM_VERSION_MINOR .*/#define MCM_VERSION_MINOR 99/'

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
